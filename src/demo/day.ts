/** Everything the demo sends: the story of one patient, and people who tell their favorite color. */
import type { DemoDay, DemoMessage } from './question.js';
import { storyMessages } from './story.js';

const COLORS = ['teal', 'blue', 'green', 'red', 'yellow', 'purple'] as const;
const GIVEN = [
  'Nuria',
  'Tomas',
  'Ines',
  'Pavel',
  'Leila',
  'Oskar',
  'Mirela',
  'Jonas',
  'Aiko',
  'Bruno',
  'Salma',
  'Viktor',
];
const FAMILIES = [
  'Abara',
  'Bergstrom',
  'Castellano',
  'Dvorak',
  'Eriksen',
  'Farouk',
  'Gallego',
  'Horvat',
  'Ishikawa',
  'Jansen',
];

/** The same day every time, byte for byte. */
export function demoDay(): DemoDay {
  const messages: DemoMessage[] = storyMessages().map((bytes) => ({ to: 'mllp', bytes }));
  const favoriteColors = new Map<string, number>();
  for (let person = 0; person < GIVEN.length * FAMILIES.length; person += 1) {
    const color = COLORS[((person * person + 3 * person) % 7) % COLORS.length] ?? 'teal';
    favoriteColors.set(color, (favoriteColors.get(color) ?? 0) + 1);
    messages.push({ to: '/events', bytes: attributeEvent(person, color) });
  }
  return { messages, favoriteColors };
}

function attributeEvent(person: number, favoriteColor: string): Buffer {
  const family = FAMILIES[person % FAMILIES.length] ?? '';
  const given = GIVEN[Math.floor(person / FAMILIES.length)] ?? '';
  const event = {
    eventId: `demo-color-${person}`,
    type: 'patient.attributes',
    ts: `2026-03-02T${String(8 + (person % 10)).padStart(2, '0')}:${String(person % 60).padStart(2, '0')}:00Z`,
    patient: {
      identifiers: [{ authority: 'DEMO', value: `8${String(person).padStart(4, '0')}`, type: 'MR' }],
      name: { family, given: [given] },
      birthDate: `${1940 + ((person * 7) % 70)}-0${1 + (person % 9)}-1${person % 10}`,
      sex: person % 2 === 0 ? 'female' : 'male',
    },
    data: { favoriteColor },
  };
  return Buffer.from(JSON.stringify(event));
}
