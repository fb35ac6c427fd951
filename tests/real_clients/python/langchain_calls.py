"""LangChain against the gateway: what each call came to, one line of JSON each."""

import json
import os

from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

URL, KEY = os.environ["BASE_URL"], os.environ["KEY"]


def tell(name: str, value: object) -> None:
    """Print one result."""
    print(json.dumps({"name": name, "value": value}))


@tool
def paint(colour: str) -> str:
    """Paint it."""
    return colour


openai = ChatOpenAI(model="tiny", base_url=f"{URL}/v1", api_key=KEY, max_tokens=12, max_retries=0, stream_usage=True)
anthropic = ChatAnthropic(model="tiny", base_url=URL, api_key=KEY, max_tokens=12, max_retries=0)
for name, model in (("openai", openai), ("anthropic", anthropic)):
    whole = model.invoke("Hello")
    tell(f"{name} whole", {"text": whole.text, "tokens": whole.usage_metadata["output_tokens"]})
    chunks = list(model.stream("Hello"))
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    tell(f"{name} streamed", {"text": total.text, "tokens": total.usage_metadata["output_tokens"]})
responses = ChatOpenAI(model="tiny", base_url=f"{URL}/v1", api_key=KEY, max_tokens=12, use_responses_api=True)
tell("responses", {"text": responses.invoke("Hello").text})
painter = openai.model_copy(update={"max_tokens": 200}).bind_tools([paint], tool_choice="paint")
tell("tool", painter.invoke("Hello").tool_calls[0]["args"])
embeddings = OpenAIEmbeddings(model="tiny", base_url=f"{URL}/v1", api_key=KEY, check_embedding_ctx_length=False)
tell("embeddings", len(embeddings.embed_documents(["a", "b"])))
