// Cards, filters and the large view. Only text is ever set, never markup: names may hold anything.
// Of a large inspection, a row has a `rest` to be brought (parts.js) before all of its card can be drawn.
const {rows = unpack(), colours, words, language, types, known, drawn, noTypes, fingerprint, atlas} = JSON.parse(document.getElementById('data').textContent);
const chosen = {verdict: '', category: '', type: '', marked: '', group: '', name: '', largest: '', sort: ''};
const at = id => document.getElementById(id), main = document.querySelector('main');
const say = (key, values = {}) => words[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
const make = (tag, cls, text) => {
  const e = document.createElement(tag);
  if (cls) e.className = cls;
  if (text !== undefined) e.textContent = text;
  return e;
};
const percent = v => (v >= 0.995 ? say('over', {n: 99}) : v < 0.005 ? say('under', {n: 1}) : (100 * v).toFixed(0)) + '\u00a0%';
const typeName = type => type === 'unknown' ? say('unknown') : type;
const isMarked = r => markOf(r) ? 'yes' : 'no';
const fits = (r, but) => ['verdict', 'category', 'type', 'group'].every(k => k === but || !chosen[k] || String(r[k]) === chosen[k])
  && (!chosen.marked || isMarked(r) === chosen.marked) && (!chosen.largest || (r.largest || 0) >= +chosen.largest) && r.name.normalize('NFC').toLowerCase().includes(chosen.name);

function sureness(r) {
  if (r.verdict === 'unfamiliar') {
    if (!r.category) return say('none_known', {category: r.suggested});
    return r.suggested ? say('looks_like', {category: r.suggested}) : say('not_this_part');
  }
  if (r.ignored && r.ignored === r.defects) return say('tolerated');
  if (r.settled) return say('settled');
  if (r.goodOnly) return say('good_only');
  return r.verdict === 'review' ? say('undecided') : say('sure', {p: percent(r.verdict === 'normal' ? 1 - r.p : r.p)});
}
function scale(r) {
  const bar = make('div', 'bar'), band = make('div', 'band'), dot = make('div', 'dot');
  band.style.left = 100 * r.band[0] + '%';
  band.style.width = Math.max(1, 100 * (r.band[1] - r.band[0])) + '%';
  dot.style.left = 'calc(' + 100 * r.p + '% - 2px)';
  bar.append(band, dot);
  return bar;
}
function likeness(r) {
  const short = id => id.split('/').slice(-2).join('/'), seen = r.near.filter(id => known[id]);
  if (!seen.length) return [make('div', 'n', say('near', {names: r.near.map(short).join(', ')}))];
  const row = make('div', 'near');
  for (const id of seen) {
    const figure = make('figure'), picture = make('img');
    Object.assign(picture, {loading: 'lazy', src: known[id], alt: short(id), title: id});
    figure.append(picture, make('figcaption', '', id.split('/').slice(-2)[0].replaceAll('_', '_\u200b')));
    if (atlas) figure.append(onMap(id));
    row.append(figure);
  }
  return [make('div', 'n', say('near_pictures')), row];
}
function onMap(id) {
  const link = make('a', '', say('on_map'));
  Object.assign(link, {href: atlas + '#' + encodeURI(id), target: '_blank'});
  link.onclick = e => e.stopPropagation();
  return link;
}
function sizes(r) {
  if (!r.defects) return say('no_defect_drawn');
  const unit = '\u00a0' + r.unit, short = v => v.toLocaleString(language, {maximumSignificantDigits: 3, useGrouping: false});
  const values = {n: r.defects, area: short(r.largest) + unit + '²', longest: short(r.longest) + unit};
  return say(r.defects === 1 ? 'one_defect' : 'some_defects', values);
}
function typing(r) {
  const name = typeName(r.type) + (r.sure === null || r.type === 'unknown' ? '' : ' (' + percent(r.sure) + ')');
  return say(r.verdict === 'review' ? 'perhaps' : 'type_is', {type: name});
}
function about(r) {
  const t = make('div', 't');
  t.append(make('span', 'v', say(r.verdict)), ' ' + (r.category || ''));
  if (r.verdict === 'error') t.append(make('div', 'sure', r.error));
  else if (r.rest === undefined) {
    t.append(make('div', 'sure', sureness(r)));
    if (r.suggested && r.verdict !== 'unfamiliar') t.append(make('div', 'sure', say('looks_like', {category: r.suggested})));
    if (r.category && r.told !== null) t.append(make('div', 'n', say('told_apart', {p: percent(r.told)})));
    if (r.verdict !== 'unfamiliar') t.append(scale(r), make('div', 'n', say(r.goodOnly ? 'less_strange' : 'probability', {p: percent(r.p)})));
    if (r.added && r.verdict !== 'unfamiliar') t.append(make('div', 'n', say('added')));
    if (r.asked !== null) t.append(make('div', 'n', say('asked', {p: percent(r.asked)})));
    if (r.defects !== undefined) t.append(make('div', 'n', sizes(r)));
    if (r.type) t.append(make('div', 'sure', typing(r)));
    if (r.others.length) t.append(make('div', 'n', say(r.type === 'unknown' ? 'nearest' : 'others', {types: r.others.join(say('or'))})));
    if (r.group) t.append(make('div', 'n', say('in_group', {n: groupSizes.get(r.group)})));
    if (r.near.length) t.append(...likeness(r));
    for (const text of r.more) t.append(make('div', 'n', text));
  }
  const name = make('div', 'n', r.name);
  name.title = r.path;
  t.append(name);
  return t;
}
function inside(r) {
  const picture = r.thumb ? make('img') : make('div', 'none', r.rest === undefined ? say('no_picture') : '');
  if (r.thumb) Object.assign(picture, {loading: 'lazy', src: r.thumb, alt: ''});
  return [picture, about(r), markers(r)];
}
function card(r) {
  const a = make('article', r.verdict);
  a.style.setProperty('--c', colours[r.verdict]);
  a.append(...inside(r));
  if (r.rest !== undefined) bring(r).then(() => a.replaceChildren(...inside(r)));
  a.tabIndex = 0;
  a.onclick = () => enlarge(list.indexOf(r));
  a.onkeydown = e => {
    if (e.key !== 'Enter' || e.target !== a) return;
    e.preventDefault();  // else it would press the button that the large view opens with
    enlarge(list.indexOf(r));
  };
  return a;
}

let list = [], next = 0, open = 0, view = 0;
const sorts = {
  doubt: r => r.p === undefined ? 9 : Math.abs(r.p - (r.band[0] + r.band[1]) / 2),
  p: r => r.p === undefined ? 9 : -r.p,
};
const groupSizes = new Map();
for (const r of rows) if (r.group) groupSizes.set(r.group, 1 + (groupSizes.get(r.group) || 0));

// Heatmap, the part as it should be, difference: what lies over the photograph.
function look(k) {
  const r = list[open], seen = [r.thumb, ...(r.views || [])];
  view = k % seen.length;
  at('heat').hidden = !r.thumb;
  if (r.thumb) at('heat').src = seen[view];
  at('heat').alt = say('view_' + view);
  at('view').hidden = seen.length < 2;
  at('view').replaceChildren(say('view') + ': ' + say('view_' + (view + 1) % seen.length), make('kbd', '', 'e'));
}
at('view').onclick = () => look(view + 1);

function portray(r) {
  look(0);
  at('whole').onerror = () => { at('whole').onerror = null; at('whole').src = r.thumb || '' };
  at('whole').src = encodeURI('file://' + (r.path[0] === '/' ? '' : '/') + r.path.replace(/\p{Cs}/gu, '\ufffd')).replace(/[#?]/g, encodeURIComponent);
  at('about').replaceChildren(...about(r).childNodes);
  at('about').className = r.verdict;
  at('about').style.setProperty('--c', colours[r.verdict]);
}
function enlarge(k) {
  const r = list[k];
  if (!r) return;
  open = k;
  portray(r);
  if (r.rest !== undefined) bring(r).then(() => { if (list[open] === r && at('large').open) portray(r) });
  at('before').disabled = k === 0;
  at('after').disabled = k === list.length - 1;
  showMarking(r);
  if (!at('large').open) at('large').showModal();
}
at('opacity').oninput = () => { at('heat').style.opacity = at('opacity').value };
at('before').onclick = () => enlarge(open - 1);
at('after').onclick = () => enlarge(open + 1);
at('close').onclick = () => at('large').close();
addEventListener('beforeprint', () => { while (next < list.length) more() });
function more() { main.append(...list.slice(next, next += 60).map(card)) }

function show() {
  list = rows.filter(r => fits(r));
  next = 0;
  if (sorts[chosen.sort]) list.sort((a, b) => sorts[chosen.sort](a) - sorts[chosen.sort](b));
  else if (chosen.sort) list.sort((a, b) => a.name < b.name ? -1 : 1);
  const kept = Object.entries(chosen).filter(([, v]) => v);
  if (kept.length || location.hash) location.replace('#' + new URLSearchParams(kept));  // no step of the browser's history
  main.textContent = '';
  more();
  scrollTo(0, 0);
  at('shown').textContent = say('shown', {shown: list.length, all: rows.length});
  at('empty').hidden = list.length > 0;
  at('save-list').disabled = !list.length;
  const left = Object.fromEntries(Object.keys(colours).map(v => [v, 0]));
  for (const r of rows) if (fits(r, 'verdict')) left[r.verdict]++;
  for (const b of at('verdicts').children) {
    const v = b.dataset.verdict;
    b.textContent = say(v) + ' ' + left[v];
    b.setAttribute('aria-pressed', v === chosen.verdict);
    b.disabled = !left[v] && chosen.verdict !== v;
  }
  showGroups();
}

document.documentElement.lang = language;
document.title = say('title');
for (const e of document.querySelectorAll('[data-say]')) e.textContent = say(e.dataset.say);
for (const e of document.querySelectorAll('[data-label]')) e.setAttribute('aria-label', say(e.dataset.label));
for (const e of document.querySelectorAll('[data-alt]')) e.alt = say(e.dataset.alt);
at('name').placeholder = say('name');
if (drawn) at('key').prepend(make('strong', '', say('drawn') + ' '));
for (const v of Object.keys(colours)) {
  const b = make('button');
  b.style.setProperty('--c', colours[v]);
  b.dataset.verdict = v;
  b.onclick = () => { chosen.verdict = chosen.verdict === v ? '' : v; show() };
  at('verdicts').append(b);
}
for (const k of ['category', 'type']) {
  at(k).append(new Option(say(k === 'type' ? 'every_type' : 'every_category'), ''));
  for (const v of [...new Set(rows.map(r => r[k]).filter(Boolean))].sort()) at(k).append(new Option(typeName(v), v));
}
for (const [k, v] of new URLSearchParams(location.hash.slice(1))) if (k in chosen) {
  if (at(k)) at(k).value = v;
  if (at(k)?.selectedIndex < 0) at(k).selectedIndex = 0;
  chosen[k] = at(k) ? at(k).value : v;
}
// An address may be of an earlier inspection, and ask for what is not there any more.
if (!groupSizes.has(chosen.group)) chosen.group = '';
if (!(chosen.verdict in colours)) chosen.verdict = '';
if (!rows.some(r => r.defects !== undefined)) chosen.largest = '';
for (const k of ['category', 'type', 'marked', 'sort']) at(k).onchange = () => { chosen[k] = at(k).value; show() };
at('largest').hidden = !rows.some(r => r.defects !== undefined);
at('largest').placeholder = say('largest_from');
at('largest').oninput = () => { chosen.largest = at('largest').value; show() };
at('name').oninput = () => { chosen.name = at('name').value.normalize('NFC').toLowerCase(); show() };
