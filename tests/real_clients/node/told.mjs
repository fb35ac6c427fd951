// What a call came to, as one line of JSON: its value, or the error as the SDK's own class tells it.
export async function tell(name, call) {
  try {
    console.log(JSON.stringify({ name, value: await call() }));
  } catch (error) {
    const { status, message } = error;
    const inner = error.lastError ?? error;
    console.log(JSON.stringify({ name, error: { type: inner.constructor.name, status: status ?? inner.statusCode, message } }));
  }
}
export const URL = process.env.BASE_URL;
export const KEY = process.env.KEY;
export const HELLO = [{ role: "user", content: "Hello" }];
export const PAINT = { type: "object", properties: { colour: { type: "string" } }, required: ["colour"] };
