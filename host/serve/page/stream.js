// An answer, streamed: POST v1/chat/completions, whose events (text/event-stream) come cut anywhere.

// Reads what is left of a body and forgets it: a connection that was read to its end serves the next request too, and its server
// does not take the reader for one that left.
async function drain(reader) {
  while (!(await reader.read()).done);
}

// The data of each event, "[DONE]" being the last. A piece of the network may end within a character, within a line, or between
// "\r" and "\n".
async function* events(body) {
  const reader = body.getReader(), decoder = new TextDecoder();
  let rest = '', data = null, over = false;
  try {
    for (;;) {
      const {done, value} = await reader.read();
      rest += done ? decoder.decode() : decoder.decode(value, {stream: true});
      for (;;) {
        const m = /\r\n|\n|\r/.exec(rest);
        if (!m || (m[0] === '\r' && m.index === rest.length - 1 && !done)) break;
        const line = rest.slice(0, m.index);
        rest = rest.slice(m.index + m[0].length);
        if (line === '') {
          if (data !== null) yield data;
          if (data === '[DONE]') { over = true; return; }
          data = null;
        } else if (line.startsWith('data:')) {
          const d = line.slice(line[5] === ' ' ? 6 : 5);
          data = data === null ? d : data + '\n' + d;
        }
      }
      if (done) return;
    }
  } finally {
    (over ? drain(reader) : reader.cancel()).catch(() => {});
  }
}

const authorization = key => key ? {Authorization: `Bearer ${key}`} : {};

// What a server that refuses says, as an Error with its status.
async function refusal(response) {
  let said = '';
  try {
    const text = await response.text();
    try { said = JSON.parse(text).error.message; } catch { said = text.slice(0, 500); }
  } catch { /* the status will do */ }
  const e = new Error(said || `The server answered ${response.status} ${response.statusText}`);
  e.status = response.status;
  return e;
}

// A GET's JSON.
async function getJson(url, key) {
  const r = await fetch(url, {headers: authorization(key)});
  if (!r.ok) throw await refusal(r);
  return r.json();
}

// Streams an answer; on(what, text) gets its pieces, what being "text" or "think". Returns {finish, usage, timings}; throws what
// went wrong, an AbortError where `signal` stopped it.
async function complete(request, key, signal, on) {
  const r = await fetch('v1/chat/completions', {method: 'POST', signal, body: JSON.stringify(request),
    headers: {'Content-Type': 'application/json', ...authorization(key)}});
  if (!r.ok) throw await refusal(r);
  const end = {finish: null, usage: null, timings: null};
  let whole = false;
  for await (const data of events(r.body)) {
    if (data === '[DONE]') { whole = true; continue; }
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Error(chunk.error.message || 'The server failed');
    const choice = chunk.choices && chunk.choices[0];
    if (choice) {
      const delta = choice.delta || {};
      if (delta.reasoning_content) on('think', delta.reasoning_content);
      if (delta.content) on('text', delta.content);
      if (choice.finish_reason) end.finish = choice.finish_reason;
    }
    if (chunk.usage) end.usage = chunk.usage;
    if (chunk.timings) end.timings = chunk.timings;
  }
  if (!whole) throw new Error('The connection ended before the answer did');
  return end;
}
