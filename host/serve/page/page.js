// The page: what is shown, and what keys and buttons do.
const $ = id => document.getElementById(id);

const NUMBERS = [ // the fields of a request, as they are named there
  {name: 'temperature', label: 'Temperature', min: 0, step: 'any'},
  {name: 'top_p', label: 'Top p', min: 0, max: 1, step: 'any'},
  {name: 'top_k', label: 'Top k', min: 0, step: 1},
  {name: 'min_p', label: 'Min p', min: 0, max: 1, step: 'any'},
  {name: 'max_tokens', label: 'Most tokens', min: 1, step: 1},
  {name: 'seed', label: 'Seed', min: 0, step: 1},
];

let chats = [];           // all that are kept, the newest first
let chat = newChat();     // the one that is shown: one of them, or a new one, which is kept from its first message on
let settings = store.settings();
let server = {};          // what it says of itself: model, device, n_ctx, defaults
const runs = new Map();   // of a conversation's id: the answer that is being written, {chat, node, stop}

// ---- what is said ----
function complain(message) {
  $('alert').textContent = message;
}
function announce(message) {
  $('status').textContent = message;
}
function keep(c) {
  try {
    store.keep(c);
  } catch {
    complain('The browser’s storage is full: what is new is not kept. Export conversations, and delete some.');
  }
}
async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // not a secure context, or not allowed: the old way
    const t = el('textarea', {class: 'away', readonly: true});
    t.value = text;
    document.body.append(t);
    t.select();
    document.execCommand('copy');
    t.remove();
    button.focus();
  }
  const said = button.textContent;
  button.textContent = 'Copied';
  announce('Copied');
  setTimeout(() => { button.textContent = said; }, 1500);
}

// ---- the server ----
async function ask() {
  try {
    const [props, models] = await Promise.all([getJson('props', settings.key), getJson('v1/models', settings.key)]);
    const d = props.default_generation_settings || {}, first = (models.data || [])[0] || {};
    server = {model: first.id, device: props.device, name: props.device_name, executor: props.executor, n_ctx: d.n_ctx, defaults: d.params || {}};
    complain('');
  } catch (e) {
    server = {};
    if (e.status === 401) {
      complain('This server asks for an API key: Settings has a field for it.');
    } else complain(`The server does not answer: ${e.message}`);
  }
  $('device').textContent = [server.model, server.name || server.device, server.executor].filter(Boolean).join(' · ') || 'no connection';
  drawNumbers();
  drawContext();
}

// ---- the list ----
function drawList() {
  const at = document.activeElement, had = at && at.closest('#list') && [at.closest('li').dataset.id, at.dataset.act];
  $('list').replaceChildren(...chats.map(c => el('li', {'data-id': c.id},
    el('button', {class: 'open', 'data-act': 'open', 'aria-current': c.id === chat.id ? 'true' : null, click: () => open(c.id)}, c.title),
    el('button', {class: 'tool', 'data-act': 'rename', 'aria-label': `Rename ${c.title}`, title: 'Rename', click: () => rename(c.id)}, '✎'),
    el('button', {class: 'tool', 'data-act': 'delete', 'aria-label': `Delete ${c.title}`, title: 'Delete', click: () => remove(c.id)}, '✕'))));
  if (had) {
    const again = $('list').querySelector(`[data-id="${had[0]}"] [data-act="${had[1]}"]`);
    if (again) again.focus();
  }
}
function touch(c) {
  c.changed = Date.now();
  chats = [c, ...chats.filter(x => x.id !== c.id)];
  keep(c);
  drawList();
}
// What the browser keeps, anew; what is being written here stays as it is here.
function reread() {
  chats = store.chats().map(c => (runs.get(c.id) || {}).chat || c);
  chat = chats.find(c => c.id === chat.id) || chat;
  drawList();
}
function open(id) {
  chat = chats.find(c => c.id === id) || newChat();
  showSide(false);
  drawList();
  draw();
  toEnd();
  focusAsk();
}
function rename(id) {
  const li = $('list').querySelector(`[data-id="${id}"]`), c = chats.find(x => x.id === id), old = li.firstChild;
  const input = el('input', {'aria-label': 'New name', maxlength: 200});
  let done = false;
  const finish = save => {
    if (done) return;
    done = true;
    const title = input.value.trim();
    if (save && title) {
      c.title = title;
      c.named = true;
      keep(c);
    }
    drawList();
    drawTitle();
    $('list').querySelector(`[data-id="${id}"] .open`).focus();
  };
  input.value = c.title;
  input.addEventListener('keydown', e => {
    if (e.key === 'Enter' && !e.isComposing) { e.preventDefault(); finish(true); } // else it would press the button that comes
    if (e.key === 'Escape') { e.stopPropagation(); finish(false); }
  });
  input.addEventListener('blur', () => finish(true));
  old.replaceWith(input);
  input.select();
}
function remove(id) {
  const c = chats.find(x => x.id === id);
  if (!confirm(`Delete “${c.title}” from this browser?`)) return;
  halt(id);
  chats = chats.filter(x => x.id !== id);
  store.drop(id);
  announce(`Deleted ${c.title}`);
  if (id === chat.id) open(chats.length ? chats[0].id : newId());
  else {
    drawList();
    $('new').focus();
  }
}

function exportAll() {
  const file = new Blob([JSON.stringify({format: 'qmoe-gpu conversations', version: 1, conversations: chats}, null, 1)], {type: 'application/json'});
  const a = el('a', {href: URL.createObjectURL(file), download: `conversations-${new Date().toISOString().slice(0, 10)}.json`});
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 10000);
}
async function importFile(file) {
  try {
    const o = JSON.parse(await file.text());
    if (!o || !Array.isArray(o.conversations)) throw new Error('it holds no conversations');
    const read = o.conversations.map((c, i) => {
      try { return cleanChat(c); } catch (e) { throw new Error(`conversation ${i + 1}: ${e.message}`); }
    });
    const had = new Map(chats.map(c => [c.id, JSON.stringify(c.nodes)]));
    let n = 0;
    for (const c of read) {
      if (had.get(c.id) === JSON.stringify(c.nodes)) continue; // it is here already
      if (had.has(c.id)) c.id = newId();
      had.set(c.id, JSON.stringify(c.nodes));
      store.keep(c);
      n++;
    }
    reread();
    complain('');
    announce(`${n} of ${read.length} conversations imported`);
  } catch (e) {
    complain(`${file.name} was not imported: ${e.message}`);
  }
}

// ---- the messages ----
function drawTitle() {
  $('title').textContent = chat.title;
  document.title = chat.nodes.length ? `${chat.title} · qmoe-gpu` : 'qmoe-gpu';
}
function draw() {
  const items = path(chat);
  drawTitle();
  $('empty').hidden = items.length > 0;
  $('log').replaceChildren(...items.map(item));
  drawContext();
  drawButtons();
}
function drawButtons() {
  const run = runs.get(chat.id), at = document.activeElement;
  $('send').hidden = !!run;
  $('stop').hidden = !run;
  $('log').setAttribute('aria-busy', run ? 'true' : 'false');
  if (at === $('stop') && !run) $('ask').focus();
}
// One message, whole.
function item(i) {
  const n = chat.nodes[i], user = n.role === 'user';
  const li = el('li', {'data-node': i, 'aria-label': user ? 'You' : 'Answer'});
  if (user) li.append(el('div', {class: 'user'}, n.text));
  else li.append(el('div', {class: 'answer'}));
  li.append(el('div', {class: 'acts'}));
  drawItem(li, i);
  return li;
}
const button = (act, label, click, more) => el('button', {type: 'button', 'data-act': act, click, ...more}, label);
// What of a message changes: an answer's text as it grows, and the line below.
function drawItem(li, i) {
  const n = chat.nodes[i], run = runs.get(chat.id), busy = !!run && run.node === i, acts = li.lastChild;
  if (n.role === 'assistant') drawAnswer(li.firstChild, n, busy);
  if (busy && acts.dataset.busy) {
    acts.querySelector('.stats').textContent = statistics(n.stats);
    return;
  }
  const same = siblings(chat, i), at = same.indexOf(i);
  acts.dataset.busy = busy ? '1' : '';
  acts.replaceChildren();
  if (same.length > 1) {
    acts.append(button('before', '‹', () => branch(i, same[at - 1], 'before'), {'aria-label': 'The version before', disabled: at === 0}),
      el('span', null, `${at + 1} of ${same.length}`),
      button('after', '›', () => branch(i, same[at + 1], 'after'), {'aria-label': 'The next version', disabled: at === same.length - 1}));
  }
  if (!busy) {
    acts.append(button('copy', 'Copy', e => copy(n.text, e.currentTarget)), button('edit', 'Edit', () => edit(i)));
    acts.append(button('again', n.role === 'user' ? 'Ask again' : 'Regenerate', () => again(i)));
  }
  if (n.role === 'assistant') acts.append(el('span', {class: 'stats'}, statistics(n.stats)));
}
function drawAnswer(into, n, busy) {
  let think = into.querySelector(':scope > details'), text = into.querySelector(':scope > .text');
  if (!text) into.append(text = el('div', {class: 'text'}));
  if (n.think) {
    if (!think) into.prepend(think = el('details', {class: 'think'}, el('summary'), el('div', {class: 'text'})));
    think.firstChild.textContent = busy && !n.text ? 'Thinking …' : 'Thought';
    showMarkdown(think.lastChild, n.think);
  }
  showMarkdown(text, n.text);
  text.classList.toggle('busy', busy && !text.children.length);
  for (const [name, said] of [['note', !busy && n.note], ['error', n.error]]) {
    let p = into.querySelector(`:scope > .${name}`);
    if (said && !p) into.append(p = el('p', {class: name}));
    if (p && !said) p.remove();
    else if (p) p.textContent = said;
  }
}
function statistics(s) {
  if (!s) return '';
  const number = x => x.toLocaleString('en', {maximumFractionDigits: x < 10 ? 2 : 1}), out = [];
  if (s.rate) out.push(`${number(s.rate)} tok/s`);
  if (s.first !== undefined) out.push(`first token ${number(s.first)} s`);
  if (s.out) out.push(`${s.out} ${s.out === 1 ? 'token' : 'tokens'}`);
  if (s.cached) out.push(`prompt ${s.prompt}, ${s.cached} cached`);
  if (s.device) out.push(s.device);
  return out.join(' · ');
}
function drawContext() {
  const last = path(chat).map(i => chat.nodes[i].stats).filter(s => s && s.total).pop();
  $('context').hidden = !last || !server.n_ctx;
  if ($('context').hidden) return;
  $('meter').value = last.total / server.n_ctx;
  $('used').textContent = `${last.total.toLocaleString('en')} of ${server.n_ctx.toLocaleString('en')} tokens`;
}
// An answer's words, to be read aloud: without its buttons and what it thought.
function plain(at) {
  const text = at ? at.querySelector('.answer > .text').cloneNode(true) : el('p');
  for (const b of text.querySelectorAll('button')) b.remove();
  return [...text.children].map(b => b.textContent).join('\n');
}
const li = i => $('log').querySelector(`[data-node="${i}"]`);

// Shows the branch at node `to` in place of that at i; the focus stays on the button's successor.
function branch(i, to, act) {
  chat.leaf = lastLeaf(chat, to);
  keep(chat);
  draw();
  const b = li(to).querySelector(`[data-act="${act}"]`);
  (b.disabled ? li(to).querySelector(`[data-act="${act === 'before' ? 'after' : 'before'}"]`) : b).focus();
}

function edit(i) {
  const n = chat.nodes[i], user = n.role === 'user', at = li(i);
  const box = el('textarea', {'aria-label': user ? 'Your message' : 'The answer'});
  const back = () => { at.replaceWith(item(i)); li(i).querySelector('[data-act="edit"]').focus(); };
  const save = () => {
    if (!box.value.trim()) return;
    halt(chat.id);
    addNode(chat, n.up, n.role, box.value);
    if (!user) chat.nodes[chat.leaf].note = 'edited';
    touch(chat);
    draw();
    focusAsk();
    if (user) answer(chat);
  };
  box.value = n.text;
  box.rows = Math.min(20, n.text.split('\n').length + 1);
  box.addEventListener('keydown', e => {
    if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) { e.preventDefault(); save(); }
    if (e.key === 'Escape') { e.stopPropagation(); back(); }
  });
  at.replaceChildren(el('div', {class: 'edit'}, box, el('div', {class: 'row'},
    button('save', user ? 'Send' : 'Keep', save, {class: 'main'}), button('cancel', 'Cancel', back))));
  box.focus();
}
// Another answer: to message i, or in place of answer i.
function again(i) {
  halt(chat.id);
  chat.leaf = chat.nodes[i].role === 'user' ? i : chat.nodes[i].up;
  focusAsk();
  answer(chat);
}

// ---- asking ----
function requestOf(c) {
  const messages = c.system ? [{role: 'system', content: c.system}] : [];
  for (const i of path(c)) {
    const n = c.nodes[i], m = {role: n.role, content: n.text};
    if (!n.text) continue; // nothing came
    if (n.think) m.reasoning_content = n.think;
    messages.push(m);
  }
  const r = {model: server.model || 'default', messages, stream: true, stream_options: {include_usage: true}};
  for (const f of NUMBERS) if (Number.isFinite(settings[f.name])) r[f.name] = settings[f.name];
  if (settings.thinking) r.chat_template_kwargs = {enable_thinking: settings.thinking === 'on'};
  return r;
}
// Ends what is being written in a conversation, and forgets it at once: what comes late is nobody's.
function halt(id) {
  const run = runs.get(id);
  if (!run) return;
  run.stop.abort();
  run.end('stopped');
}
async function answer(c) {
  const request = requestOf(c), node = addNode(c, c.leaf, 'assistant', ''), n = c.nodes[node];
  const run = {chat: c, node, stop: new AbortController()}, began = performance.now();
  const shown = () => chat === c && li(node);
  let first = 0, pieces = 0, frame = 0, kept = began;
  const paint = () => {
    frame = 0;
    const at = shown(), stick = atEnd();
    if (at) drawItem(at, node);
    if (at && stick) toEnd();
    else drawDown();
  };
  run.end = (note, error) => {
    if (runs.get(c.id) !== run) return;
    runs.delete(c.id);
    cancelAnimationFrame(frame);
    n.note = note || undefined;
    n.error = error || undefined;
    keep(c); // the list stays as it is: nothing moves under a hand because an answer elsewhere has ended
    if (chat === c) {
      paint();
      drawButtons();
      drawContext();
      announce(error ? '' : `${plain(shown())}${note ? `. ${note}` : ''}`);
    }
  };
  n.note = 'stopped'; // what is found when the browser ends before the answer
  runs.set(c.id, run);
  if (chat === c) {
    complain('');
    draw();
    toEnd();
    announce('Answering');
  }
  n.stats = {device: [server.device, server.executor].filter(Boolean).join(' ') || undefined};
  try {
    const end = await complete(request, settings.key, run.stop.signal, (what, text) => {
      const now = performance.now();
      if (runs.get(c.id) !== run) return;
      if (!first) n.stats.first = ((first = now) - began) / 1000;
      n[what] = (n[what] || '') + text;
      if (++pieces > 1) n.stats.rate = (pieces - 1) * 1000 / (now - first);
      if (now - kept > 1000) { kept = now; keep(c); } // a page that is closed loses a second
      if (!frame) frame = requestAnimationFrame(paint);
    });
    if (runs.get(c.id) !== run) return;
    const u = end.usage, t = end.timings || {};
    if (u) {
      Object.assign(n.stats, {out: u.completion_tokens, prompt: u.prompt_tokens, total: u.total_tokens,
        cached: (u.prompt_tokens_details || {}).cached_tokens});
      if (pieces > 1 && u.completion_tokens > 1) n.stats.rate = (u.completion_tokens - 1) * 1000 / (performance.now() - first);
    }
    if (t.predicted_per_second > 0) n.stats.rate = t.predicted_per_second;
    run.end(end.finish === 'length' ? 'cut off: the limit of tokens was reached' : '');
  } catch (e) {
    if (e.name === 'AbortError') run.end('stopped');
    else run.end('', e instanceof TypeError ? `The server cannot be reached, or the connection broke (${e.message})` : e.message);
    if (e.status === 401) ask();
  }
}
function send() {
  const text = $('ask').value;
  if (!text.trim() || runs.has(chat.id)) return;
  if (!chat.nodes.length && !chat.named) chat.title = text.trim().split('\n')[0].slice(0, 60);
  addNode(chat, chat.leaf, 'user', text);
  $('ask').value = '';
  grow();
  focusAsk();
  touch(chat);
  answer(chat);
}

// The next thing to do is to write; on a phone that would bring up the keyboard.
function focusAsk() {
  if (!matchMedia('(pointer: coarse)').matches) $('ask').focus();
}

// ---- scrolling ----
const atEnd = () => $('scroll').scrollHeight - $('scroll').scrollTop - $('scroll').clientHeight < 60;
function toEnd() {
  $('scroll').scrollTop = $('scroll').scrollHeight;
  drawDown();
}
function drawDown() {
  $('down').hidden = atEnd();
}
// Where a browser does not size a field by its content.
function grow() {
  if (CSS.supports('field-sizing', 'content')) return;
  $('ask').style.height = 'auto';
  $('ask').style.height = `${$('ask').scrollHeight + 2}px`;
}

// ---- settings ----
function drawNumbers() {
  $('numbers').replaceChildren(...NUMBERS.map(f => {
    const input = el('input', {id: `set-${f.name}`, type: 'number', min: f.min, max: f.max, step: f.step, inputmode: 'decimal'});
    const usual = server.defaults && server.defaults[f.name];
    input.value = Number.isFinite(settings[f.name]) ? settings[f.name] : '';
    input.placeholder = Number.isFinite(usual) && usual >= 0 ? +usual.toPrecision(6) : f.name === 'seed' ? 'random' : 'as it comes';
    input.addEventListener('change', () => {
      if (!input.reportValidity()) return;
      settings[f.name] = input.value === '' ? undefined : Number(input.value);
      keepSettings();
    });
    return el('div', {class: 'field'}, el('label', {for: input.id}, f.label), input);
  }));
}
function keepSettings() {
  try { store.keepSettings(settings); } catch { complain('The browser’s storage is full: the settings are not kept.'); }
}
function openSettings() {
  drawNumbers();
  $('system').value = chat.system;
  $('thinking').value = settings.thinking || '';
  $('key').value = settings.key || '';
  $('settings').showModal();
}
function showSide(shown) {
  $('side').classList.toggle('shown', shown);
  $('side-open').setAttribute('aria-expanded', shown);
}

// ---- what keys and buttons do ----
$('form').addEventListener('submit', e => { e.preventDefault(); send(); });
$('ask').addEventListener('input', grow);
$('ask').addEventListener('keydown', e => {
  if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) { e.preventDefault(); send(); }
});
$('stop').addEventListener('click', () => { halt(chat.id); $('ask').focus(); });
document.addEventListener('keydown', e => {
  if (e.key !== 'Escape' || $('settings').open) return;
  if (runs.has(chat.id)) { halt(chat.id); $('ask').focus(); }
  else if ($('side').classList.contains('shown')) { showSide(false); $('side-open').focus(); }
});
$('skip').addEventListener('click', e => { e.preventDefault(); $('ask').focus(); });
$('new').addEventListener('click', () => open(newId()));
$('side-open').addEventListener('click', () => { showSide(true); $('new').focus(); });
$('side-close').addEventListener('click', () => { showSide(false); $('side-open').focus(); });
$('export').addEventListener('click', exportAll);
$('import').addEventListener('click', () => $('import-file').click());
$('import-file').addEventListener('change', e => { if (e.target.files[0]) importFile(e.target.files[0]).then(() => { e.target.value = ''; }); });
$('down').addEventListener('click', () => { toEnd(); $('ask').focus(); });
$('scroll').addEventListener('scroll', drawDown, {passive: true});
$('settings-open').addEventListener('click', openSettings);
$('system').addEventListener('change', e => { chat.system = e.target.value; if (chat.nodes.length) keep(chat); });
$('thinking').addEventListener('change', e => { settings.thinking = e.target.value; keepSettings(); });
$('key').addEventListener('change', e => { settings.key = e.target.value.trim(); keepSettings(); ask(); });
$('settings').addEventListener('close', () => $('ask').focus());
// Another tab has kept something.
addEventListener('storage', e => {
  if (e.key === SETTINGS || e.key === null) settings = store.settings();
  if (e.key !== null && !e.key.startsWith(CHATS)) return;
  reread();
  draw();
});
addEventListener('pagehide', () => { for (const id of [...runs.keys()]) halt(id); });
addEventListener('online', ask);

chats = store.chats();
if (chats.length) chat = chats[0];
drawList();
draw();
toEnd();
ask();
