import OpenAI from "openai";
import { HELLO, KEY, PAINT, URL, tell } from "./told.mjs";

const options = { baseURL: `${URL}/v1`, apiKey: KEY, maxRetries: 0 };
const client = new OpenAI(options);
const chat = { model: "tiny", messages: HELLO, max_tokens: 12 };
const tool = { type: "function", function: { name: "paint", parameters: PAINT } };

await tell("whole", async () => {
  const answer = await client.chat.completions.create(chat);
  return { text: answer.choices[0].message.content, tokens: answer.usage.completion_tokens, id: answer._request_id };
});
await tell("streamed", async () => {
  let text = "", tokens = 0;
  const wish = { ...chat, stream: true, stream_options: { include_usage: true } };
  for await (const chunk of await client.chat.completions.create(wish)) {
    text += chunk.choices[0]?.delta?.content ?? "";
    tokens = chunk.usage?.completion_tokens ?? tokens;
  }
  return { text, tokens };
});
await tell("helper", async () => {
  const answer = await client.chat.completions.stream(chat).finalChatCompletion();
  return { text: answer.choices[0].message.content };
});
await tell("tool", async () => {
  const choice = { type: "function", function: { name: "paint" } };
  const answer = await client.chat.completions.create({ ...chat, max_tokens: 200, tools: [tool], tool_choice: choice });
  return JSON.parse(answer.choices[0].message.tool_calls[0].function.arguments);
});
await tell("completion", async () => (await client.completions.create({ model: "tiny", prompt: "Once", max_tokens: 6 })).choices[0]);
await tell("responses", async () => {
  const answer = await client.responses.create({ model: "tiny", input: "Hello", max_output_tokens: 12, store: true });
  return { text: answer.output_text };
});
await tell("responses streamed", async () => {
  const stream = client.responses.stream({ model: "tiny", input: "Hello", max_output_tokens: 12 });
  const kinds = [];
  for await (const event of stream) kinds.push(event.type);
  return { text: (await stream.finalResponse()).output_text, first: kinds[0], last: kinds.at(-1) };
});
await tell("embedding", async () => (await client.embeddings.create({ model: "tiny", input: ["a", "b"] })).data.length);
await tell("models", async () => (await client.models.list()).data.map((model) => model.id));
await tell("left", async () => {
  const stream = await client.chat.completions.create({ ...chat, max_tokens: 4000, stream: true });
  for await (const _ of stream) break;
  return stream.controller.signal.aborted;
});
await tell("wrong key", () => new OpenAI({ ...options, apiKey: "vtc-wrong" }).chat.completions.create(chat));
await tell("wrong model", () => client.chat.completions.create({ ...chat, model: "none" }));
await tell("wrong field", () => client.chat.completions.create({ ...chat, max_tokens: "many" }));
await tell("forbidden", () => client.chat.completions.create({ ...chat, ignore_eos: true }));
await tell("twice /v1", () => new OpenAI({ ...options, baseURL: `${URL}/v1/v1` }).chat.completions.create(chat));
