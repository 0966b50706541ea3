/**
 * Words of other scripts in Latin letters, by rule, so that a name is found however it is spelt. One reading for each letter: where a language
 * has several (х is kh or h), the spellings lie within what search takes for the same word (src/text/edits.ts, src/text/sounds.ts).
 * Han characters have no reading by rule and stay as they are.
 */
import { nameTokens } from './names.js';

/** `letters` and their readings, in the same order, readings separated by blanks; `-` reads as nothing. */
function table(letters: string, readings: string): [string, string][] {
  const latin = readings.split(' ');
  return [...letters].map((letter, index) => [letter, latin[index] === '-' ? '' : (latin[index] as string)]);
}

/** After folding: lower case, without accents (й is и, ё is е). ISO 9 in the form used on passports (ICAO Doc 9303 part 3, section 6). */
const CYRILLIC = table(
  'абвгдежзиклмнопрстуфхцчшщъыьэюяієґђјљњћџѕқғңөұүһә',
  'a b v g d e zh z i k l m n o p r s t u f kh ts ch sh shch - y - e yu ya i ye g dj j lj nj c dz dz k g n o u u h a',
);
/** ISO 843, type 2 (transcription). */
const GREEK = table('αβγδεζηθικλμνξοπρσςτυφχψω', 'a v g d e z i th i k l m n x o p r s s t y f ch ps o');
const ARMENIAN = table(
  'աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ',
  'a b g d e z e y t zh i l kh ts k h dz gh ch m y n sh o ch p j r s v t r ts v p k o f',
);
const GEORGIAN = table(
  'აბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰ',
  'a b g d e v z t i k l m n o p zh r s t u p k gh q sh ch ts dz ts ch kh j h',
);
/** Vowels are mostly not written: such words meet others by their sound. */
const HEBREW = table('אבגדהוזחטיכךלמםנןסעפףצץקרשת', '- b g d h v z h t y k k l m m n n s - p f ts ts k r sh t');
const ARABIC = table(
  'ابتثجحخدذرزسشصضطظعغفقكلمنهويىةءپچژگکیٱہھےں',
  'a b t th j h kh d dh r z s sh s d t z - gh f q k l m n h w y a a - p ch zh g k y a h h y n',
);
/** Hepburn. Voiced kana are letters of their own after folding. */
const KANA = table(
  'あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわゐゑをんがぎぐげござじずぜぞだぢづでどばびぶべぼぱぴぷぺぽゔー',
  'a i u e o ka ki ku ke ko sa shi su se so ta chi tsu te to na ni nu ne no ha hi fu he ho ma mi mu me mo ya yu yo ra ri ru re ro wa wi we o n ga gi gu ge go za ji zu ze zo da ji zu de do ba bi bu be bo pa pi pu pe po vu -',
);

const LETTERS: ReadonlyMap<string, string> = new Map([
  ...CYRILLIC,
  ...GREEK,
  ...ARMENIAN,
  ...GEORGIAN,
  ...HEBREW,
  ...ARABIC,
  ...KANA,
  // Katakana stand in the same order 96 code points further on.
  ...KANA.filter(([letter]) => letter >= 'あ' && letter <= 'ゔ').map(([letter, latin]): [string, string] => [
    String.fromCodePoint((letter.codePointAt(0) as number) + 96),
    latin,
  ]),
]);

/** Letters that read otherwise together. */
const TOGETHER: readonly (readonly [RegExp, string])[] = [
  [/ου/g, 'ou'],
  [/αυ(?=[θκξπσςτφχψ]|$)/g, 'af'],
  [/ευ(?=[θκξπσςτφχψ]|$)/g, 'ef'],
  [/αυ/g, 'av'],
  [/ευ/g, 'ev'],
  [/γγ/g, 'ng'],
  [/γκ/g, 'gk'],
  [/^μπ/g, 'b'],
  [/^ντ/g, 'd'],
  [/ու/g, 'u'],
  [/և/g, 'ev'],
  // Small kana: きゃ is kya, しゃ is sha, っか is kka.
  [/([きぎにひびぴみり])([ゃゅょ])/g, '$1-$2'],
  [/([キギニヒビピミリ])([ャュョ])/g, '$1-$2'],
];
const SMALL_KANA: ReadonlyMap<string, string> = new Map(
  table('ぁぃぅぇぉゃゅょァィゥェォャュョ', 'a i u e o a u o a i u e o a u o'),
);

const HANGUL_FIRST = 0xac00;
const HANGUL_LAST = 0xd7a3;
/** Revised Romanization, syllable by syllable: initial, vowel, final. */
const HANGUL = [
  'g kk n d tt r m b pp s ss - j jj ch k t p h'.split(' '),
  'a ae ya yae eo e yeo ye o wa wae oe yo u wo we wi yu eu ui i'.split(' '),
  '- k k k n n n t l k m l l l p l m p p t t ng t t k t p t'.split(' '),
] as const;

const FOREIGN = /[^\p{Script=Latin}\p{Script=Han}\p{N}]/u;

/** A folded word in Latin letters; letters without a rule stay. May be empty for a word of signs that are not read. */
export function transliterate(word: string): string {
  if (!FOREIGN.test(word)) return word;
  let text = word;
  for (const [letters, latin] of TOGETHER) text = text.replace(letters, latin);
  const characters = [...text];
  let result = '';
  for (let index = 0; index < characters.length; index += 1) {
    const letter = characters[index] as string;
    const next = characters[index + 1];
    if (letter === '-' && next !== undefined && SMALL_KANA.has(next)) {
      result = `${result.slice(0, -1)}y`;
    } else if (SMALL_KANA.has(letter)) {
      if (/(sh|ch|j)i$/.test(result)) result = result.slice(0, -1);
      result += SMALL_KANA.get(letter) as string;
    } else if (letter === 'っ' || letter === 'ッ') {
      result += next === undefined ? '' : (LETTERS.get(next) ?? '').slice(0, 1);
    } else {
      result += hangul(letter) ?? LETTERS.get(letter) ?? letter;
    }
  }
  return result;
}

function hangul(letter: string): string | undefined {
  const code = letter.codePointAt(0) as number;
  if (code < HANGUL_FIRST || code > HANGUL_LAST) return undefined;
  const syllable = code - HANGUL_FIRST;
  const parts = [Math.floor(syllable / 588), Math.floor((syllable % 588) / 28), syllable % 28] as const;
  return parts.map((part, place) => HANGUL[place]?.[part]?.replace('-', '') ?? '').join('');
}

/** The words of a text as search compares them: folded, in Latin letters where there is a rule. */
export function latinTokens(text: string): string[] {
  return nameTokens(text)
    .map(transliterate)
    .filter((word) => word !== '');
}
