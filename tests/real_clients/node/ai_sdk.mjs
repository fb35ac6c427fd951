import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, jsonSchema, streamText, tool } from "ai";
import { KEY, PAINT, URL, tell } from "./told.mjs";

const openai = createOpenAI({ baseURL: `${URL}/v1`, apiKey: KEY });
const compatible = createOpenAICompatible({ name: "gateway", baseURL: `${URL}/v1`, apiKey: KEY, includeUsage: true });
const anthropic = createAnthropic({ baseURL: `${URL}/v1`, apiKey: KEY });
const models = {
  responses: openai("tiny"),
  chat: openai.chat("tiny"),
  compatible: compatible("tiny"),
  messages: anthropic("tiny"),
};
const wish = { prompt: "Hello", maxOutputTokens: 12, maxRetries: 0 };

for (const [name, model] of Object.entries(models)) {
  await tell(`${name} whole`, async () => {
    const answer = await generateText({ model, ...wish });
    return { text: answer.text, tokens: answer.usage.outputTokens };
  });
  await tell(`${name} streamed`, async () => {
    const stream = streamText({ model, ...wish, onError: () => {} });
    let text = "";
    for await (const part of stream.fullStream) {
      if (part.type === "text-delta") text += part.text;
      if (part.type === "error") throw part.error;
    }
    return { text, tokens: (await stream.usage).outputTokens };
  });
}
await tell("tool", async () => {
  const paint = tool({ inputSchema: jsonSchema(PAINT) });
  const options = { ...wish, maxOutputTokens: 200, tools: { paint }, toolChoice: { type: "tool", toolName: "paint" } };
  return (await generateText({ model: models.chat, ...options })).toolCalls[0].input;
});
await tell("embeddings", async () => {
  const answer = await embedMany({ model: openai.embedding("tiny"), values: ["a", "b"] });
  return answer.embeddings.length;
});
await tell("wrong key", () => generateText({ model: createOpenAI({ baseURL: `${URL}/v1`, apiKey: "vtc-wrong" })("tiny"), ...wish }));
