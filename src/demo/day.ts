/** Everything the demo sends: a simulated day of a hospital, and in it the story of one patient. */
import { simulate, type SimulatedKind } from '../simulator/simulate.js';
import type { Entrance, FedMessage } from '../cli/senders/feed.js';
import type { DemoDay } from './question.js';
import { storyMessages } from './story.js';

const DAY = { patients: 150, messages: 1_500, seed: 20_260_302, start: '2026-03-02T00:00:00.000000Z' } as const;
const ENTRANCES: Readonly<Record<SimulatedKind, Entrance>> = { hl7: 'mllp', event: '/events', fhir: '/fhir' };
/** Between two messages of the story come so many of the others. */
const OTHERS_BETWEEN = 250;

/** The same day every time, byte for byte. */
export function demoDay(): DemoDay {
  const messages: FedMessage[] = [];
  const story = storyMessages();
  const people = new People();
  for (const { kind, bytes, truth } of simulate(DAY)) {
    if (messages.length % OTHERS_BETWEEN === 0) {
      const next = story.shift();
      if (next !== undefined) messages.push({ to: 'mllp', bytes: next, key: 'story' });
    }
    messages.push({ to: ENTRANCES[kind], bytes, key: String(truth.person) });
    people.note(truth);
  }
  for (const bytes of story) messages.push({ to: 'mllp', bytes, key: 'story' });
  return { messages, favoriteColors: people.favoriteColors() };
}

type Truth = ReturnType<typeof simulate> extends Generator<{ truth: infer T }> ? T : never;

/** Who told which color, with the numbers of one person brought together as the hub should after its merges. */
class People {
  private readonly mergedInto = new Map<string, string>();
  private readonly colors = new Map<string, { color: string; at: string }>();

  note(truth: Truth): void {
    const number = keyOf(truth.identifier);
    if (truth.mergedIdentifier !== undefined) this.mergedInto.set(keyOf(truth.mergedIdentifier), number);
    if (truth.favoriteColor === undefined) return;
    const earlier = this.colors.get(number);
    if (earlier === undefined || earlier.at <= truth.validTime) {
      this.colors.set(number, { color: truth.favoriteColor, at: truth.validTime });
    }
  }

  favoriteColors(): Map<string, number> {
    const ofPeople = new Map<string, { color: string; at: string }>();
    for (const [number, told] of this.colors) {
      const person = this.survivorOf(number);
      const other = ofPeople.get(person);
      if (other === undefined || other.at < told.at) ofPeople.set(person, told);
    }
    const counts = new Map<string, number>();
    for (const { color } of ofPeople.values()) counts.set(color, (counts.get(color) ?? 0) + 1);
    return counts;
  }

  private survivorOf(number: string): string {
    const next = this.mergedInto.get(number);
    return next === undefined || next === number ? number : this.survivorOf(next);
  }
}

function keyOf({ authority, value }: { authority: string; value: string }): string {
  return `${authority}|${value}`;
}
