"""ray_serve.py: qmoe-gpu under Ray Serve, which starts a server a GPU, more while many ask, fewer while few do.

    pip install "ray[serve]" aiohttp
    MODEL=/srv/models/FILE.gguf serve run ray_serve:app          # then http://127.0.0.1:8000/v1/chat/completions, as ever

Of the environment, besides MODEL: QMOE (the program), PARALLEL (answers at once of a server), MIN and MAX (how many servers),
GPUS (of a server; 0: on the software device, to try it), ARGS (more options of `qmoe-gpu serve`)."""
import asyncio
import os
import re
import shlex
import signal

import aiohttp
from ray import serve
from starlette.responses import StreamingResponse

PARALLEL = int(os.environ.get("PARALLEL", 16))
HOPS = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host", "content-length"}


@serve.deployment(
    ray_actor_options={"num_gpus": float(os.environ.get("GPUS", 1))},  # Ray shows each server its own GPU alone
    max_ongoing_requests=2 * PARALLEL,  # those beyond PARALLEL wait in the server's queue, and lose no time there
    autoscaling_config={"min_replicas": int(os.environ.get("MIN", 1)), "max_replicas": int(os.environ.get("MAX", 4)),
                        "target_ongoing_requests": PARALLEL},
    health_check_period_s=5,
    graceful_shutdown_timeout_s=60,
)
class Model:
    """One server, started with its replica, and a way through to it."""

    async def __init__(self):
        args = [os.environ.get("QMOE", "qmoe-gpu"), "serve", "-m", os.environ["MODEL"], "--port", "0", "--parallel", str(PARALLEL),
                *shlex.split(os.environ.get("ARGS", ""))]
        self.process = await asyncio.create_subprocess_exec(*args, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE)
        self.url = None
        while self.url is None:
            line = (await self.process.stderr.readline()).decode(errors="replace")
            if not line:
                raise RuntimeError(f"qmoe-gpu ended with status {await self.process.wait()}")
            print(line, end="", flush=True)
            if m := re.search(r"listening on (http://\S+?:\d+)", line):
                self.url = m.group(1)
        self.log = asyncio.create_task(self.show_log())
        self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None), auto_decompress=False)

    async def show_log(self):
        while line := await self.process.stderr.readline():
            print(line.decode(errors="replace"), end="", flush=True)

    async def check_health(self):
        # Not /ready: a full queue is no reason to start the server anew. One whose device has failed ends by itself.
        async with self.session.get(self.url + "/health", timeout=aiohttp.ClientTimeout(total=5)) as r:
            r.raise_for_status()

    async def __call__(self, request):
        head = {k: v for k, v in request.headers.items() if k.lower() not in HOPS}
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        answer = await self.session.request(request.method, self.url + path, headers=head, data=await request.body())

        async def pieces():
            # Ray cancels this when the client leaves; the server then sees its own client leave.
            async with answer:
                async for piece in answer.content.iter_any():
                    yield piece

        return StreamingResponse(pieces(), status_code=answer.status,
                                 headers={k: v for k, v in answer.headers.items() if k.lower() not in HOPS})

    def __del__(self):
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)


app = Model.bind()
