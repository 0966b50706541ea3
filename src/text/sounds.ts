/**
 * How a name sounds, roughly, whatever the language that wrote it down: the consonants in classes, so that Mohammed, Muhamad and the
 * unvowelled mhmd are one, and so are Meyer, Maier and Meier, or Schmidt and Schmitt.
 */

/** Longest first; what `ch` stands for differs, so it has two readings. */
const CLUSTERS: readonly (readonly [RegExp, string])[] = [
  [/shch|tsch|tch|sch|sh|cz|zh|sz|cs/g, 's'],
  [/ph/g, 'f'],
  [/[gk]h(?=[aeiou]|$)/g, 'k'],
  [/gh/g, ''],
  [/ck|cq|qu/g, 'k'],
  [/dj|dzh/g, 'j'],
  [/ts|tz|dz/g, 's'],
  [/dt|th/g, 't'],
  [/x/g, 'ks'],
  [/c(?=[eiy])/g, 's'],
];

const CLASSES: Readonly<Record<string, string>> = {
  b: 'p',
  p: 'p',
  f: 'f',
  v: 'f',
  w: 'f',
  c: 'k',
  g: 'k',
  k: 'k',
  q: 'k',
  s: 's',
  z: 's',
  d: 't',
  t: 't',
  l: 'l',
  r: 'r',
  m: 'm',
  n: 'n',
};

/** Shorter keys say too little: half the names of a town would sound alike. */
const KEY_LEAST_CHARACTERS = 3;
const LATIN = /^[a-z]+$/;

/** Of the words asked about last; the same names come again and again. */
const remembered = new Map<string, readonly string[]>();
const REMEMBERED_MOST = 20_000;

/** Keys of a folded word: equal ones sound alike. None for words that are not Latin letters, or of too few consonants. */
export function soundKeys(word: string): readonly string[] {
  let keys = remembered.get(word);
  if (keys === undefined) {
    keys = soundsOf(word);
    if (remembered.size >= REMEMBERED_MOST) remembered.clear();
    remembered.set(word, keys);
  }
  return keys;
}

function soundsOf(word: string): string[] {
  if (!LATIN.test(word)) return [];
  const readings = word.includes('ch') ? [word.replaceAll('ch', 'k'), word.replaceAll('ch', 'sh')] : [word];
  const keys = readings.map(soundKey).filter((key) => key.length >= KEY_LEAST_CHARACTERS);
  return [...new Set(keys)];
}

function soundKey(word: string): string {
  let text = word.replace(/(.)\1+/g, '$1');
  for (const [cluster, sound] of CLUSTERS) text = text.replace(cluster, sound);
  // A vowel at the beginning is heard, whichever it is; later ones come and go with the spelling, as j, y and h do.
  const first = /^[aeiouyjh]/.test(text) ? 'a' : '';
  let key = first;
  for (const letter of text) key += CLASSES[letter] ?? '';
  return key;
}
