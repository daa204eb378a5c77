// What a person says of an image, kept in this browser under the inspection's own name until it is saved.
const place = 'mvtec-xai marks ' + fingerprint, byPath = new Map(rows.map(r => [r.path, r]));
let state = {marks: {}, past: [], saved: false}, keeps = true;

function recall() {
  if (!keeps) return;  // what is kept is older
  try { state = JSON.parse(localStorage.getItem(place)) || state } catch { keeps = false }
}
function keep() {
  try { localStorage.setItem(place, JSON.stringify(state)) } catch { keeps = false }
}
const markOf = r => state.marks[r.path];
const marked = () => rows.filter(markOf);
const same = (a, b) => Boolean(a && b && a.verdict === b.verdict && a.type === b.type);
const verdictOf = m => m.verdict === 'normal' ? say('good_part') : say('defective_part') + (m.type ? ', ' + m.type : '');
const decides = r => r.verdict === 'normal' || r.verdict === 'anomalous';  // or is it left to a person?

function choices(r) {
  const good = {verdict: 'normal', type: ''}, defective = {verdict: 'anomalous', type: ''};
  if (r.verdict === 'anomalous')
    return {right: {...defective, type: r.type === 'unknown' ? '' : r.type}, wrong_good: good};
  return r.verdict === 'normal' ? {right: good, wrong_defective: defective} : {good, defective};
}
// One step, whether of one image or of several: what one undo takes back.
function mark(several, wanted) {
  if (!several.length) return;
  recall();
  state.past.push(several.map(r => [r.path, markOf(r) || null]));
  state.past = state.past.slice(-200);
  for (const r of several) if (wanted) state.marks[r.path] = wanted; else delete state.marks[r.path];
  changed(several);
}
function undo() {
  recall();
  const step = state.past.pop();
  if (!step) return;
  for (const [path, before] of step) if (before) state.marks[path] = before; else delete state.marks[path];
  const several = step.map(([path]) => byPath.get(path)).filter(Boolean);
  changed(several);
  if (at('large').open && list.includes(several[0])) enlarge(list.indexOf(several[0]));
}
function changed(several) {
  state.saved = false;
  keep();
  refresh(several);
  at('told').textContent = several.length === 1 ? told(several[0]) : '';
}
function refresh(several) {
  for (const r of several) {
    const card = main.children[list.indexOf(r)];
    if (card) renew(card.querySelector('.marks'), old => old.replaceWith(markers(r)), card);
  }
  if (at('large').open) renew(at('mark'), old => old.replaceChildren(markers(list[open], true)), at('mark'));
  showCount();
}
// The keyboard's focus stays on the button that was pressed, though its row is drawn again.
function renew(box, draw, around) {
  const pressed = box.contains(document.activeElement) && document.activeElement.dataset.mark;
  draw(box);
  if (pressed) around.querySelector('[data-mark="' + pressed + '"]')?.focus();
}
function told(r) {
  const name = r.name.split('/').slice(-2).join('/');
  return markOf(r) ? say('told', {name, mark: verdictOf(markOf(r))}) : say('told_none', {name});
}

// The buttons of one image; in the large view they show their keys.
function markers(r, large) {
  const box = make('div', 'marks'), m = markOf(r), offered = Object.entries(choices(r));
  box.onclick = e => e.stopPropagation();
  if (r.verdict === 'error') return box;
  if (m) box.append(make('div', 'marked', say('marked_as', {mark: verdictOf(m)})));
  const add = (key, pressed, action) => {
    const b = make('button', '', say(key));
    b.dataset.mark = key;
    b.setAttribute('aria-pressed', Boolean(pressed));
    b.onclick = e => { if (!large || e.detail < 2) action(); };  // a double click has moved on to the next image
    if (large) b.append(make('kbd', '', say('key_' + key)));
    box.append(b);
  };
  for (const [key, wanted] of offered) add(key, same(m, wanted), () => choose(r, wanted));
  if (large || r.verdict !== 'normal') {
    const other = m && m.verdict === 'anomalous' && !offered.some(([, wanted]) => same(m, wanted));
    const named = r.verdict === 'anomalous' && r.type && r.type !== 'unknown';
    add(named ? 'other_type' : 'which_type', other, () => askType(r));
  }
  return box;
}
// Pressing a button again takes the mark back.
function choose(r, wanted) {
  const again = same(markOf(r), wanted);
  mark([r], again ? null : wanted);
  if (at('large').open && !again) enlarge(open + 1);
}
function giveType(r, type) {
  closeTypes();
  mark([r], {verdict: 'anomalous', type});
  enlarge(open + 1);
}
function showMarking(r) {
  closeTypes();
  at('mark').replaceChildren(markers(r, true));
}
function closeTypes() {
  if (at('types').contains(document.activeElement)) at('large').focus();  // keys go on where one was writing
  at('types').hidden = true;
}

// Which type is it? Known ones to choose from, by number too, or a new name.
function knownTypes(category) {
  const own = marked().filter(r => r.category === category).map(r => markOf(r).type).filter(Boolean);
  return [...new Set([...(types[category] || []), ...own])].sort();
}
const folded = name => name.normalize('NFC').toLowerCase();  // as one reads it
const plainly = name => name.toLowerCase().replace(/[\s_.(-]*\d*\)?$/, '').replace(/^[ ._-]+|[ ._-]+$/g, '').replaceAll(' ', '_');
const refused = name => !plainly(name) && !/\d/.test(name) || noTypes.includes(plainly(name)) || /[/\\]/.test(name);
function naming(form, category, numbered, take) {
  const input = make('input'), button = make('button', '', say('take_name')), why = make('p', 'n');
  for (const [k, name] of knownTypes(category).entries()) {
    const b = make('button', '', name);
    b.type = 'button';
    b.dataset.type = name;
    b.onclick = () => take(name);
    if (numbered && k < 9) b.append(make('kbd', '', k + 1));
    form.append(b);
  }
  input.placeholder = say('new_name');
  input.setAttribute('aria-label', say('new_name'));
  form.append(input, button, why);
  form.onsubmit = e => {
    e.preventDefault();
    const name = input.value.trim();
    if (refused(name)) why.textContent = say('no_name');
    else take(knownTypes(category).find(known => folded(known) === folded(name)) || name);
  };
}
function askType(r) {
  if (!at('large').open) enlarge(list.indexOf(r));
  at('types').replaceChildren(make('p', '', say('ask_type')));
  naming(at('types'), r.category, true, type => giveType(r, type));
  at('types').hidden = false;
  (at('types').querySelector('button[data-type]') || at('types').querySelector('input')).focus();
}

// Unknown images that resemble each other may be a type that nobody has named yet.
function showGroups() {
  at('groups').hidden = !groupSizes.size;
  at('groups').replaceChildren();
  for (const [group, n] of groupSizes) {
    const b = make('button', '', say('group', {n, category: rows.find(r => r.group === group).category}));
    b.dataset.group = group;
    b.setAttribute('aria-pressed', chosen.group === group);
    b.onclick = () => { chosen.group = chosen.group === group ? '' : group; show() };
    at('groups').append(b);
  }
  if (!groupSizes.has(chosen.group)) return;
  const form = make('form'), category = list.length ? list[0].category : '';
  at('groups').append(make('p', 'n', say('name_group')), form);
  naming(form, category, false, type => {
    mark(list.filter(r => !markOf(r) || markOf(r).verdict === 'anomalous' && !markOf(r).type), {verdict: 'anomalous', type});
  });
}

// What leaves the page: tables, written as Python's csv writes them.
function cell(value) {
  const text = String(value ?? '').replace(/\p{Cs}/gu, c => '\\u' + c.charCodeAt(0).toString(16));
  return /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
}
function offer(name, table) {
  const text = table.map(row => row.map(cell).join(',') + '\r\n').join(''), a = make('a');
  a.href = URL.createObjectURL(new Blob([text], {type: 'text/csv'}));
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 10000);
}
at('save').onclick = () => {
  recall();
  const lines = marked().map(r => [r.path, r.category, markOf(r).verdict, markOf(r).type]);
  offer('feedback.csv', [['path', 'category', 'verdict', 'type'], ...lines]);
  state.saved = true;
  keep();
  showCount();
};
at('save-list').onclick = () => {
  const lines = list.map(r => [r.path, r.category, r.verdict, r.p, r.type]);
  offer('shown.csv', [['path', 'category', 'verdict', 'probability', 'defect_type'], ...lines]);
};
at('undo').onclick = undo;

function showCount() {
  const n = marked().length;
  const where = !n ? 'count_none' : !keeps ? 'count_lost' : state.saved ? 'count_saved' : 'count_kept';
  at('count').textContent = say(where, {n, all: rows.length});
  at('save').disabled = !n;
  at('undo').disabled = !state.past.length;
}
at('large').oncancel = e => {
  if (at('types').hidden) return;
  e.preventDefault();
  closeTypes();
};
addEventListener('keydown', e => {
  if (!at('large').open || (e.repeat && !e.key.startsWith('Arrow')) || e.altKey || e.metaKey) return;
  if (e.target.tagName === 'INPUT' && e.target !== at('opacity')) return;
  if (e.target === at('opacity') && e.key.startsWith('Arrow')) return;
  const key = e.key.toLowerCase();
  if (e.ctrlKey) { if (key === 'z') undo(); return }
  if (e.key === 'ArrowLeft') return enlarge(open - 1);
  if (e.key === 'ArrowRight') return enlarge(open + 1);
  if (key === say('key_undo')) return undo();
  if (key === 'e' && !at('view').hidden) return look(view + 1);
  const numbered = at('types').hidden ? [] : at('types').querySelectorAll('button[data-type]');
  if (numbered[key - 1]) return numbered[key - 1].click();
  const button = [...at('mark').querySelectorAll('button')].find(b => say('key_' + b.dataset.mark) === key);
  if (!button) return;
  e.preventDefault();
  button.click();
});
addEventListener('storage', e => { if (e.key === place) { recall(); refresh(list.slice(0, next)) } });

recall();
show();
showCount();
new IntersectionObserver(e => { if (e[0].isIntersecting && next < list.length) more() }, {rootMargin: '900px'}).observe(at('more'));
