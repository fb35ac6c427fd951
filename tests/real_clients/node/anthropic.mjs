import Anthropic from "@anthropic-ai/sdk";
import { HELLO, KEY, PAINT, URL, tell } from "./told.mjs";

const options = { baseURL: URL, apiKey: KEY, maxRetries: 0 };
const client = new Anthropic(options);
const message = { model: "tiny", messages: HELLO, max_tokens: 12 };

await tell("whole", async () => {
  const answer = await client.messages.create(message);
  return { text: answer.content[0].text, tokens: answer.usage.output_tokens, id: answer._request_id };
});
await tell("streamed", async () => {
  const kinds = new Set();
  for await (const event of await client.messages.create({ ...message, stream: true })) kinds.add(event.type);
  return [...kinds];
});
await tell("helper", async () => {
  const answer = await client.messages.stream(message).finalMessage();
  return { text: answer.content[0].text, tokens: answer.usage.output_tokens, stop: answer.stop_reason };
});
await tell("tool", async () => {
  const tools = [{ name: "paint", input_schema: PAINT }];
  const answer = await client.messages.create({ ...message, max_tokens: 200, tools, tool_choice: { type: "tool", name: "paint" } });
  return answer.content.find((block) => block.type === "tool_use").input;
});
await tell("count", async () => (await client.messages.countTokens({ model: "tiny", messages: HELLO })).input_tokens);
await tell("wrong key", () => new Anthropic({ ...options, apiKey: "vtc-wrong" }).messages.create(message));
await tell("wrong model", () => client.messages.create({ ...message, model: "none" }));
await tell("twice /v1", () => new Anthropic({ ...options, baseURL: `${URL}/v1` }).messages.create(message));
