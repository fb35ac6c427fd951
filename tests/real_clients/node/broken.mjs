// Streams that break in the middle: every client must tell the gateway's own words, as an error of its own.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import Anthropic from "@anthropic-ai/sdk";
import { streamText } from "ai";
import OpenAI from "openai";
import { HELLO, KEY, URL, tell } from "./told.mjs";

const openai = new OpenAI({ baseURL: `${URL}/v1`, apiKey: KEY, maxRetries: 0 });
const anthropic = new Anthropic({ baseURL: URL, apiKey: KEY, maxRetries: 0 });
const drained = async (stream) => { let events = 0; for await (const _ of await stream) events += 1; return events; };

await tell("openai chat", () => drained(openai.chat.completions.create({ model: "tiny", messages: HELLO, max_tokens: 64, stream: true })));
await tell("openai completions", () => drained(openai.completions.create({ model: "tiny", prompt: "Once", max_tokens: 64, stream: true })));
await tell("openai responses", async () => {
  for await (const event of await openai.responses.create({ model: "tiny", input: "Hello", max_output_tokens: 64, stream: true })) {
    if (event.type === "error") throw Object.assign(new Error(event.message), { sequence: event.sequence_number });
  }
});
await tell("anthropic", () => drained(anthropic.messages.create({ model: "tiny", messages: HELLO, max_tokens: 64, stream: true })));
const models = {
  "ai-sdk chat": createOpenAI({ baseURL: `${URL}/v1`, apiKey: KEY }).chat("tiny"),
  "ai-sdk responses": createOpenAI({ baseURL: `${URL}/v1`, apiKey: KEY })("tiny"),
  "ai-sdk messages": createAnthropic({ baseURL: `${URL}/v1`, apiKey: KEY })("tiny"),
};
for (const [name, model] of Object.entries(models)) {
  await tell(name, async () => {
    const stream = streamText({ model, prompt: "Hello", maxOutputTokens: 64, maxRetries: 0, onError: () => {} });
    for await (const part of stream.fullStream) if (part.type === "error") throw part.error instanceof Error ? part.error : Object.assign(new Error(JSON.stringify(part.error)), {});
  });
}
