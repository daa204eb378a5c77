// A large inspection comes in parts: a little of every row at once, the rest and the picture of a row when it is shown.
// A part is a script that calls `part`, since a page from disk may load scripts, and nothing else, from beside it.
const arrived = new Map(), loading = new Map(), AT_ONCE = 48;  // parts in memory
const {folder, total, each} = JSON.parse(document.getElementById('data').textContent).parts;
const allowed = document.currentScript.nonce;  // the page's policy knows its scripts by this

function part(name, content) { arrived.set(name, content) }
function load(name) {
  if (!loading.has(name)) loading.set(name, new Promise(done => {
    const script = document.createElement('script');
    Object.assign(script, {nonce: allowed, src: name + '.js', onload: () => end(), onerror: () => end()});
    const end = () => {
      script.remove();
      done(arrived.get(name));
      arrived.delete(name);
    };
    document.head.append(script);
  }));
  const wanted = loading.get(name);
  loading.delete(name);
  loading.set(name, wanted);  // the last one to go
  if (loading.size > AT_ONCE) loading.delete(loading.keys().next().value);
  return wanted;
}

// Columns to rows. A column is a list of `all` values, or of places `at` among its few values (`of`); or one value for all.
function unpack() {
  const found = [], read = ({of, at, all}) => at ? i => of[at[i]] ?? undefined : all ? i => all[i] ?? undefined : () => of[0] ?? undefined;
  for (const {start, length, columns} of arrived.values()) {
    const [verdict, category, type, p, band, group, defects, largest, name, base, path] = columns.map(read);
    for (let i = 0; i < length; i++) found.push({
      rest: start + i, verdict: verdict(i), category: category(i), type: type(i), p: p(i), band: band(i), group: group(i),
      defects: defects(i), largest: largest(i), name: name(i), path: path(i) ?? base(i) + name(i),
    });
  }
  arrived.clear();
  return found;
}
// The rest of a row; it stays as it is where a part is not there any more.
async function bring(r) {
  const place = r.rest, found = await load(folder + '/details-' + Math.floor(place / each));
  if (!found) return absent();
  const {pack, ...own} = found[place % each];
  if (pack) {
    const pictures = await load('gallery/thumbs/' + pack[0]);
    own.thumb = pictures ? 'data:image/jpeg;base64,' + pictures[pack[1]] : '';
    if (!pictures) absent();
  }
  Object.assign(r, own);
  delete r.rest;
}
function absent() { at('key').textContent = say('parts_absent') }

// The browser does not wait for parts when it prints; so they are brought first.
async function printShown() {
  at('print').disabled = true;
  const wanted = list.filter(r => r.rest !== undefined).sort((a, b) => a.rest - b.rest);  // as they lie in the parts
  for (let k = 0; k < wanted.length; k += each) await Promise.all(wanted.slice(k, k + each).map(bring));
  while (next < list.length) more();
  await Promise.all([...main.querySelectorAll('article > img')].map(picture => {
    picture.loading = 'eager';
    return picture.decode().catch(() => null);
  }));
  at('print').disabled = false;
  print();
}
addEventListener('DOMContentLoaded', () => {
  const button = make('button', '', say('print'));
  Object.assign(button, {id: 'print', onclick: printShown});
  at('save-list').before(button);
  if (rows.length < total) absent();
});
addEventListener('keydown', e => {
  if (e.key.toLowerCase() !== 'p' || !(e.ctrlKey || e.metaKey) || e.shiftKey || e.altKey) return;
  e.preventDefault();
  printShown();
});
