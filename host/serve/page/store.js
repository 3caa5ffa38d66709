// What is kept in the browser: each conversation under a key of its own, the settings under another. A conversation is a tree:
// an edit or another answer is a branch beside the old one. It is kept flat: `up` is the index of the message before (-1: none,
// always lower than its own), `leaf` that of the last message shown.
//   {title, named, system, changed, leaf, nodes: [{role, text, up, think, note, error, stats}]}
const CHATS = 'qmoe-gpu.chat.', SETTINGS = 'qmoe-gpu.settings';

function newChat() {
  return {id: newId(), title: 'New conversation', named: false, system: '', changed: Date.now(), leaf: -1, nodes: []};
}
// crypto.randomUUID is there in secure contexts alone, and a server in the house is none.
function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), b => b.toString(16).padStart(2, '0')).join('');
}

// The indices of the messages that lead to node i, the first first.
function path(chat, i = chat.leaf) {
  const out = [];
  for (; i >= 0; i = chat.nodes[i].up) out.unshift(i);
  return out;
}
// The branches at node i, i among them.
const siblings = (chat, i) => chat.nodes.flatMap((n, j) => n.up === chat.nodes[i].up && n.role === chat.nodes[i].role ? [j] : []);
// The end of what was written last below node i.
function lastLeaf(chat, i) {
  for (let j = i; j >= 0; j = chat.nodes.findLastIndex(n => n.up === i)) i = j;
  return i;
}
function addNode(chat, up, role, text) {
  chat.nodes.push({role, text, up});
  return chat.leaf = chat.nodes.length - 1;
}

// A conversation from anywhere: only what one is made of, each of its type. Throws.
function cleanChat(o) {
  const text = (x, max) => typeof x === 'string' ? x.slice(0, max) : '', number = x => Number.isFinite(x) ? x : undefined;
  if (!o || typeof o !== 'object' || !Array.isArray(o.nodes)) throw new Error('it has no messages');
  const nodes = o.nodes.map((n, i) => {
    if (!n || (n.role !== 'user' && n.role !== 'assistant') || typeof n.text !== 'string') throw new Error(`message ${i + 1} is none`);
    if (!Number.isInteger(n.up) || n.up < -1 || n.up >= i) throw new Error(`message ${i + 1} follows one that does not stand before it`);
    const s = n.stats && typeof n.stats === 'object' ? n.stats : null;
    return {role: n.role, text: n.text, up: n.up, think: text(n.think) || undefined, note: text(n.note, 200) || undefined,
      error: text(n.error, 2000) || undefined, stats: s ? {first: number(s.first), rate: number(s.rate), out: number(s.out),
        prompt: number(s.prompt), total: number(s.total), cached: number(s.cached), device: text(s.device, 200) || undefined} : undefined};
  });
  const leaf = Number.isInteger(o.leaf) && o.leaf >= -1 && o.leaf < nodes.length ? o.leaf : nodes.length - 1;
  return {id: /^[0-9a-f]{24}$/.test(o.id) ? o.id : newId(), title: text(o.title, 200) || 'Conversation', named: o.named === true,
    system: text(o.system), changed: number(o.changed) || Date.now(), leaf, nodes};
}

const store = {
  // The newest first; what cannot be read is left alone.
  chats() {
    const out = [];
    for (let i = 0; i < localStorage.length; i++) {
      const k = localStorage.key(i), chat = k.startsWith(CHATS) && this.chat(k.slice(CHATS.length));
      if (chat) out.push(chat);
    }
    return out.sort((a, b) => b.changed - a.changed);
  },
  chat(id) {
    try { return {...cleanChat(JSON.parse(localStorage.getItem(CHATS + id))), id}; } catch { return null; }
  },
  // Throws where the browser's storage is full.
  keep(chat) { localStorage.setItem(CHATS + chat.id, JSON.stringify(chat)); },
  drop(id) { localStorage.removeItem(CHATS + id); },
  settings() {
    try { return {...JSON.parse(localStorage.getItem(SETTINGS))}; } catch { return {}; }
  },
  keepSettings(s) { localStorage.setItem(SETTINGS, JSON.stringify(s)); },
};
