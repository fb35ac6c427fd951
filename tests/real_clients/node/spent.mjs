// Tenants for whom retrying is vain, by a rate or a budget: the vendors' SDKs end at once, with the gateway's own words.
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { HELLO, URL, tell } from "./told.mjs";

let attempts = 0;
const counted = (...request) => { attempts += 1; return fetch(...request); };
const asked = { model: "tiny", messages: HELLO, max_tokens: 12 };

async function tellAll(tenant, apiKey) {
  const openai = new OpenAI({ baseURL: `${URL}/v1`, apiKey, maxRetries: 5, fetch: counted });
  const anthropic = new Anthropic({ baseURL: URL, apiKey, maxRetries: 5, fetch: counted });
  const calls = {
    "openai chat": () => openai.chat.completions.create(asked),
    "openai stream": () => openai.chat.completions.create({ ...asked, stream: true }),
    "openai responses": () => openai.responses.create({ model: "tiny", input: "Hello" }),
    "openai embeddings": () => openai.embeddings.create({ model: "tiny", input: "Hello to all of you, whoever and wherever you may be" }),
    "anthropic messages": () => anthropic.messages.create(asked),
    "anthropic stream": () => anthropic.messages.stream(asked).finalMessage(),
  };
  await openai.chat.completions.create(asked).catch(() => {}); // from now on it owes something
  for (const [name, call] of Object.entries(calls)) {
    attempts = 0;
    await tell(`${tenant}: ${name}`, call);
    console.log(JSON.stringify({ name: `${tenant}: ${name}: attempts`, value: attempts }));
  }
}
await tellAll("rate", process.env.SPENT_KEY);
await tellAll("budget", process.env.BROKE_KEY);
