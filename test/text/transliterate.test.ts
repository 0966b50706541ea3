import { expect, test } from '@jest/globals';
import { soundKeys } from '../../src/text/sounds.js';
import { latinTokens } from '../../src/text/transliterate.js';

test.each([
  ['Сергей Щербаков', 'sergei shcherbakov'],
  ['Юлія Ївженко', 'yuliya ivzhenko'],
  ['Ђорђе Његош', 'djordje njegosh'],
  ['Γεώργιος Παπαδόπουλος', 'georgios papadopoulos'],
  ['Ευαγγελία Μπάρκα', 'evangelia barka'],
  ['Գրիգոր Հովհաննիսյան', 'grigor hovhannisyan'],
  ['გიორგი მაისურაძე', 'giorgi maisuradze'],
  ['כהן', 'khn'],
  ['محمد', 'mhmd'],
  ['やまだ キョウコ', 'yamada kyouko'],
  ['しゅんぺい', 'shunpei'],
  ['はっとり', 'hattori'],
  ['김민준', 'kimminjun'.replace('kim', 'gim')],
  ['王小明', '王小明'],
  ['Müller-Ødegård', 'muller odegard'],
  ["O'Brien", 'obrien'],
])('%s is read as %s', (written, read) => {
  expect(latinTokens(written).join(' ')).toBe(read);
});

test.each([
  ['mohammed', 'muhamad', 'mhmd'],
  ['schmidt', 'schmitt', 'shmit'],
  ['christina', 'kristina', 'khristina'],
  ['stephanie', 'stefani', 'stefany'],
  ['chavez', 'shaves'],
  ['ivanov', 'iwanow', 'yvanoff'],
])('%s sounds like %s', (...words) => {
  const [first = [], ...others] = words.map(soundKeys);
  for (const keys of others) expect(keys.some((key) => first.includes(key))).toBe(true);
});

test('words that say little by their sound, or are in no Latin letters, have no key', () => {
  expect([soundKeys('ann'), soundKeys('lee'), soundKeys('王小明'), soundKeys('12345')]).toEqual([[], [], [], []]);
});
