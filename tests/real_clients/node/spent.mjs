// A tenant that owes its rate more than a minute: the vendors' SDKs must end at once, with the gateway's own words.
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { HELLO, URL, tell } from "./told.mjs";

const apiKey = process.env.SPENT_KEY;
let attempts = 0;
const counted = (...request) => { attempts += 1; return fetch(...request); };
const openai = new OpenAI({ baseURL: `${URL}/v1`, apiKey, maxRetries: 5, fetch: counted });
const anthropic = new Anthropic({ baseURL: URL, apiKey, maxRetries: 5, fetch: counted });
const asked = { model: "tiny", messages: HELLO, max_tokens: 12 };
const calls = {
  "openai chat": () => openai.chat.completions.create(asked),
  "openai stream": () => openai.chat.completions.create({ ...asked, stream: true }),
  "openai responses": () => openai.responses.create({ model: "tiny", input: "Hello" }),
  "openai embeddings": () => openai.embeddings.create({ model: "tiny", input: "Hello" }),
  "anthropic messages": () => anthropic.messages.create(asked),
  "anthropic stream": () => anthropic.messages.stream(asked).finalMessage(),
  "anthropic count": () => anthropic.messages.countTokens({ model: "tiny", messages: HELLO }),
};

await openai.chat.completions.create(asked).catch(() => {}); // from now on it owes something
for (const [name, call] of Object.entries(calls)) {
  attempts = 0;
  await tell(name, call);
  console.log(JSON.stringify({ name: `${name} attempts`, value: attempts }));
}
