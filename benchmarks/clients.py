"""Other programs' OpenAI classes against `serve`, as their packages are: `python -m benchmarks.clients RUN`.

They want older packages than this project has, so they are installed into an environment of their own that goes afterwards; a
run is served beside it, and each asks whole and as a stream. What each said is compared with what OpenAI's own client gets.
"""

import argparse
import json
import subprocess
import sys
import venv
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import openai

from benchmarks.measure import RESULTS, save
from pipeline.files import PROJECT, read_jsonl
from pipeline.serving.desk import run_named

PACKAGES = ("llama-index-llms-openai", "langchain-openai")

ASK = """
import importlib.metadata, json, sys
url, run, question = sys.argv[1:]

from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI

index = OpenAI(api_base=url, api_key="none", model=f"ft:gpt-4o-mini:{run}", max_retries=0)
chain = ChatOpenAI(base_url=url, api_key="none", model=run, max_retries=0)
messages = [ChatMessage(role="user", content=question)]
said = {
    "LlamaIndex complete": index.complete(question).text,
    "LlamaIndex chat": index.chat(messages).message.content,
    "LlamaIndex stream": "".join(part.delta or "" for part in index.stream_chat(messages)),
    "LangChain invoke": chain.invoke(question).content,
    "LangChain stream": "".join(part.content for part in chain.stream(question)),
}
versions = {name: importlib.metadata.version(name) for name in ("llama-index-llms-openai", "langchain-openai", "openai")}
print(json.dumps({"said": said, "packages": versions}))
"""


def measure(run: Path, question: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "pipeline", "serve", str(run), "--port", "0"]
    with (
        TemporaryDirectory() as folder,
        subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as server,
    ):
        assert server.stdout
        try:
            url = server.stdout.readline().strip()
            venv.create(folder, with_pip=True)
            python = f"{folder}/bin/python"
            subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
            done = subprocess.run(
                [python, "-c", ASK, url, run.name, question], check=True, capture_output=True, text=True
            )
            asked: Any = [{"role": "user", "content": question}]
            client = openai.OpenAI(base_url=url, api_key="none")
            own = client.chat.completions.create(model=run.name, messages=asked).choices[0].message.content
        finally:
            server.terminate()
    found = json.loads(done.stdout.splitlines()[-1])
    same = {name: said == own for name, said in found["said"].items()}
    return {"question": question, "answer": own, "same": same, "packages": found["packages"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    run = run_named(given.run).resolve()
    question = next(
        row["question"]
        for row in read_jsonl(run / "dataset" / "heldout.jsonl")
        if row["title"] in row["question"] and row["kind"] != "unknown"
    )
    save("clients", measure(run, question), given.out)


if __name__ == "__main__":
    main()
