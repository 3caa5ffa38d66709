'use strict';
// Markdown as models write it, made into DOM nodes. Text becomes text nodes and nothing else: no markup of a model's is ever
// parsed as HTML. Fences, headings, lists, quotes, tables, rules and paragraphs; inside of them code, emphasis and links.
const MAX_DEPTH = 12; // of quotes, lists and emphasis within each other; what is deeper stays as it was written

function el(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (typeof value === 'function') e.addEventListener(name, value);
    else if (value !== false && value !== undefined && value !== null) e.setAttribute(name, value === true ? '' : value);
  }
  e.append(...children);
  return e;
}

// Only the web's own addresses: "javascript:", "data:" and all others stay text.
function webAddress(text) {
  let url;
  try { url = new URL(text); } catch { return null; }
  return url.protocol === 'http:' || url.protocol === 'https:' ? url.href : null;
}

function link(href, ...children) {
  return el('a', {href, rel: 'noopener noreferrer nofollow', target: '_blank'}, ...children);
}

const PAIRS = [['***', ['strong', 'em']], ['**', ['strong']], ['__', ['strong']], ['~~', ['del']], ['*', ['em']], ['_', ['em']]];
const isSpace = c => c === undefined || /\s/.test(c);
const isWord = c => c !== undefined && /[\p{L}\p{N}]/u.test(c);

// Where the emphasis that `mark` opened at `from` closes, or -1. It closes after a character that is no space; "_" only at a
// word's end, and one star is not half of two.
function closing(s, mark, from) {
  for (let i = s.indexOf(mark, from); i >= 0; i = s.indexOf(mark, i + 1)) {
    if (i === from || isSpace(s[i - 1]) || s[i - 1] === '\\') continue;
    if (mark[0] === '_' && isWord(s[i + mark.length])) continue;
    if (mark.length === 1 && (s[i + 1] === mark || s[i - 1] === mark)) continue;
    return i;
  }
  return -1;
}

// Where the next run of exactly n backticks is, or -1.
function ticksAt(s, n, from) {
  for (let i = s.indexOf('`', from); i >= 0;) {
    let end = i;
    while (s[end] === '`') end++;
    if (end - i === n) return i;
    i = s.indexOf('`', end);
  }
  return -1;
}

// The nodes of a line of text. `none` remembers what was looked for in vain up to the end, so that a text full of lone stars
// takes no longer than another.
function inline(s, depth = 0) {
  const out = [], none = {};
  let text = '';
  const flush = () => { if (text) out.push(document.createTextNode(text)); text = ''; };
  const put = node => { flush(); out.push(node); };
  for (let i = 0; i < s.length;) {
    const c = s[i];
    if (c === '\\' && /[!-/:-@[-`{-~]/.test(s[i + 1] || '')) { text += s[i + 1]; i += 2; continue; }
    if (c === '\n') { text = text.replace(/ +$/, ''); put(el('br')); i++; continue; }
    if (c === '`') {
      const ticks = /^`+/.exec(s.slice(i))[0], end = none[ticks] ? -1 : ticksAt(s, ticks.length, i + ticks.length);
      if (end < 0) { none[ticks] = true; text += ticks; i += ticks.length; continue; }
      let code = s.slice(i + ticks.length, end).replace(/\n/g, ' ');
      if (/^ .*[^ ].* $/.test(code)) code = code.slice(1, -1);
      put(el('code', null, code));
      i = end + ticks.length;
      continue;
    }
    if ((c === '[' || (c === '!' && s[i + 1] === '[')) && !none['[']) {
      const at = c === '!' ? i + 1 : i, m = /^\[((?:[^\[\]\\]|\\.|\[[^\[\]]*\]){0,1000})\]\(\s*<?([^\s<>()]{1,2000}(?:\([^\s<>()]*\)[^\s<>()]*)?)>?(?:\s+"[^"]*"|\s+'[^']*')?\s*\)/.exec(s.slice(at, at + 3100));
      const href = m && webAddress(m[2]);
      if (href) {
        put(link(href, ...(depth < MAX_DEPTH ? inline(m[1], depth + MAX_DEPTH) : [m[1]])));
        i = at + m[0].length;
        continue;
      }
      if (s.indexOf('](', i) < 0) none['['] = true;
    }
    if ((c === 'h' || c === '<') && !isWord(s[i - 1])) {
      const m = /^(<)?(https?:\/\/[^\s<>"'`]+)/.exec(s.slice(i, i + 2000));
      if (m && depth < MAX_DEPTH && (!m[1] || s[i + m[0].length] === '>')) {
        // What ends a sentence is not part of an address; a bracket is where it was opened inside.
        let url = m[1] ? m[2] : m[2].replace(/[.,;:!?*_~]+$/, '');
        if (!m[1]) while (/[)\]]$/.test(url) && !/[(\[]/.test(url)) url = url.slice(0, -1);
        const href = webAddress(url);
        if (href) { put(link(href, url)); i += m[1] ? m[0].length + 1 : url.length; continue; }
      }
    }
    const pair = depth < MAX_DEPTH && '*_~'.includes(c) && PAIRS.find(([mark]) => s.startsWith(mark, i));
    if (pair) {
      const [mark, tags] = pair, from = i + mark.length;
      const may = !isSpace(s[from]) && !(c === '_' && isWord(s[i - 1])) && !none[mark];
      const end = may ? closing(s, mark, from) : -1;
      if (end >= 0) {
        put(tags.reduceRight((inner, tag) => [el(tag, null, ...inner)], inline(s.slice(from, end), depth + 1))[0]);
        i = end + mark.length;
        continue;
      }
      if (may) none[mark] = true;
      text += mark;
      i = from;
      continue;
    }
    text += c;
    i++;
  }
  flush();
  return out;
}

const FENCE = /^( {0,3})(`{3,}|~{3,})\s*([^`]*)$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])(?:\s+(.*))?$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const DELIMITERS = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const blank = line => /^\s*$/.test(line);
const indent = line => /^\s*/.exec(line)[0].replace(/\t/g, '    ').length;

// The cells of a table's line: "\|" is no border, nor is what stands in code.
function cells(line) {
  const out = [''];
  let code = false;
  for (let i = 0; i < line.length; i++) {
    if (line[i] === '\\' && line[i + 1] === '|') { out[out.length - 1] += '|'; i++; continue; }
    if (line[i] === '`') code = !code;
    if (line[i] === '|' && !code) out.push('');
    else out[out.length - 1] += line[i];
  }
  if (blank(out[0])) out.shift();
  if (out.length && blank(out[out.length - 1])) out.pop();
  return out.map(c => c.trim());
}

const startsTable = (lines, i) => lines[i].includes('|') && i + 1 < lines.length && lines[i + 1].includes('-') &&
  DELIMITERS.test(lines[i + 1]) && cells(lines[i]).length === cells(lines[i + 1]).length;
const startsBlock = (lines, i) => FENCE.test(lines[i]) || HEADING.test(lines[i]) || RULE.test(lines[i]) || /^ {0,3}>/.test(lines[i]) ||
  /^ {0,3}([-*+]|1[.)])\s+\S/.test(lines[i]) || startsTable(lines, i);

// The line after the block that begins at line i.
function blockEnd(lines, i) {
  const line = lines[i], fence = FENCE.exec(line);
  let j = i + 1;
  if (fence) {
    while (j < lines.length && !(lines[j].trim().startsWith(fence[2]) && /^(`+|~+)$/.test(lines[j].trim()))) j++;
    return Math.min(j + 1, lines.length);
  }
  if (HEADING.test(line) || RULE.test(line)) return j;
  if (/^ {0,3}>/.test(line)) {
    while (j < lines.length && !blank(lines[j]) && (/^ {0,3}>/.test(lines[j]) || !startsBlock(lines, j))) j++;
    return j;
  }
  const item = ITEM.exec(line);
  if (item) {
    const inside = indent(line) + 1, kind = m => m[2].slice(-1);
    let open = null; // a fence within the list: what is in it ends nothing
    for (let gap = false; j < lines.length; j++) {
      const f = FENCE.exec(lines[j].trim());
      if (open) { if (f && f[2].startsWith(open) && !f[3]) open = null; continue; }
      if (blank(lines[j])) { gap = true; continue; }
      const same = !RULE.test(lines[j]) && ITEM.exec(lines[j]);
      if (same && indent(lines[j]) < indent(line) + 2 && kind(same) !== kind(item)) break; // another list begins
      if (!same && indent(lines[j]) < inside && (gap || startsBlock(lines, j))) break;
      if (f) open = f[2];
      gap = false;
    }
    while (j > i + 1 && blank(lines[j - 1])) j--;
    return j;
  }
  if (startsTable(lines, i)) {
    for (j = i + 2; j < lines.length && !blank(lines[j]) && lines[j].includes('|');) j++;
    return j;
  }
  while (j < lines.length && !blank(lines[j]) && !startsBlock(lines, j)) j++;
  return j;
}

// The sources of a text's blocks, in their order.
function blocks(lines) {
  const out = [];
  for (let i = 0; i < lines.length;) {
    if (blank(lines[i])) { i++; continue; }
    const end = blockEnd(lines, i);
    out.push(lines.slice(i, end).join('\n'));
    i = end;
  }
  return out;
}

function codeBlock(lines, fence) {
  const closed = lines.length > 1 && lines[lines.length - 1].trim().startsWith(fence[2]) && /^(`+|~+)$/.test(lines[lines.length - 1].trim());
  const margin = new RegExp(`^ {0,${fence[1].length}}`);
  const text = lines.slice(1, closed ? -1 : undefined).map(l => l.replace(margin, '')).join('\n');
  const name = fence[3].trim().split(/\s+/)[0];
  const pre = el('pre', {tabindex: '0', role: 'region', 'aria-label': name ? `Code, ${name}` : 'Code'}, el('code', null, text));
  return el('div', {class: 'code'}, el('div', null, el('span', null, name || 'text'),
    el('button', {type: 'button', 'aria-label': 'Copy this code', click: e => copy(text, e.currentTarget)}, 'Copy')), pre);
}

function list(lines, depth) {
  const first = ITEM.exec(lines[0]), base = indent(lines[0]), ordered = /\d/.test(first[2]);
  const start = ordered ? parseInt(first[2], 10) : 1, items = [];
  let width = 0, fence = null;
  for (const line of lines) {
    const item = ITEM.exec(line), f = FENCE.exec(line.trim());
    if (!fence && item && !RULE.test(line) && (!items.length || indent(line) < base + 2)) {
      width = item[2].length + 1;
      items.push([item[3] || '']);
      const inner = FENCE.exec(item[3] || '');
      if (inner) fence = inner[2];
      continue;
    }
    if (fence) { if (f && f[2].startsWith(fence) && !f[3]) fence = null; } else if (f) fence = f[2];
    const drop = Math.min(indent(line), base + width);
    items[items.length - 1].push(line.replace(/^\t+/, t => '    '.repeat(t.length)).slice(drop));
  }
  const made = items.map(item => {
    const parts = blocks(item).map(b => block(b, depth + 1));
    const loose = item.some((l, i) => blank(l) && i < item.length - 1);
    if (!loose && parts.length && parts[0].tagName === 'P') parts.splice(0, 1, ...parts[0].childNodes);
    return el('li', null, ...parts);
  });
  return el(ordered ? 'ol' : 'ul', {start: ordered && start !== 1 ? start : null}, ...made);
}

function table(lines) {
  const align = cells(lines[1]).map(d => /^:.*:$/.test(d) ? 'center' : /:$/.test(d) ? 'right' : null);
  const row = (line, tag) => {
    const found = cells(line);
    return el('tr', null, ...align.map((a, i) => el(tag, {class: a, scope: tag === 'th' ? 'col' : null}, ...inline(found[i] || ''))));
  };
  return el('div', {class: 'wide-table', tabindex: '0', role: 'region', 'aria-label': 'Table'},
    el('table', null, el('thead', null, row(lines[0], 'th')), el('tbody', null, ...lines.slice(2).map(l => row(l, 'td')))));
}

function block(source, depth = 0) {
  const lines = source.split('\n'), fence = FENCE.exec(lines[0]), heading = HEADING.exec(lines[0]);
  if (fence) return codeBlock(lines, fence);
  if (depth >= MAX_DEPTH) return el('p', null, source);
  // The page's own heading is the first level.
  if (heading) return el(`h${Math.min(heading[1].length + 1, 6)}`, {class: `size${heading[1].length}`}, ...inline(heading[2]));
  if (RULE.test(lines[0]) && lines.length === 1) return el('hr');
  if (/^ {0,3}>/.test(lines[0]))
    return el('blockquote', null, ...blocks(lines.map(l => l.replace(/^ {0,3}> ?/, ''))).map(b => block(b, depth + 1)));
  if (ITEM.test(lines[0])) return list(lines, depth);
  if (startsTable(lines, 0)) return table(lines);
  return el('p', null, ...inline(lines.map(l => l.trimStart()).join('\n')));
}

// Makes `into` show the Markdown of `text`. Blocks that are as they were keep their nodes: a text that grows costs its last
// block, and a selection or a focus above it stays.
function showMarkdown(into, text) {
  const sources = blocks(text.split(/\r\n|\r|\n/)), shown = into.children;
  for (let i = 0; i < sources.length; i++) {
    if (shown[i] && shown[i].source === sources[i]) continue;
    const made = block(sources[i]);
    made.source = sources[i];
    if (shown[i]) shown[i].replaceWith(made);
    else into.append(made);
  }
  while (shown.length > sources.length) shown[shown.length - 1].remove();
}
