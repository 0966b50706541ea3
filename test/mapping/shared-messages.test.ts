import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { splitMessages } from '../../src/inbound/hl7/batch.js';
import { readHl7 } from '../../src/inbound/hl7/reader.js';
import { mapMessage } from '../../src/mapping/map.js';
import { sharedData, sharedFiles } from '../support/shared-data.js';
import { CONTEXT } from './support.js';

const whenShared = sharedData() === undefined ? describe.skip : describe;

/** Every HL7 v2 message of real senders that is at hand. */
function realMessages(): { name: string; bytes: Buffer }[] {
  return sharedFiles('messages', ['.hl7', '.txt', '.out']).flatMap(({ name, bytes }) =>
    splitMessages(bytes).messages.map((message, index) => ({ name: `${name}#${index}`, bytes: message.bytes })),
  );
}

function mapBytes(bytes: Buffer): ReturnType<typeof mapMessage> {
  const mapped = mapMessage({ kind: 'hl7v2', message: readHl7(bytes) }, CONTEXT, { rules: true });
  return { ...mapped };
}

whenShared('the messages of real senders', () => {
  const messages = realMessages();

  it('are all mapped without an exception, and most of those with a mapping give facts', () => {
    const counts = new Map<string, { messages: number; facts: number; silent: number }>();
    const kinds = new Map<string, number>();
    for (const { name, bytes } of messages) {
      const message = readHl7(bytes);
      let mapped;
      try {
        mapped = mapBytes(bytes);
      } catch (error) {
        throw new Error(`${name} threw`, { cause: error });
      }
      const type = `${message.messageCode}^${message.triggerEvent}`;
      const count = counts.get(type) ?? { messages: 0, facts: 0, silent: 0 };
      count.messages += 1;
      count.facts += mapped.facts.length;
      // Many fixtures of others are fragments; one that names a patient by number must say something.
      const names = (message.segment('PID')?.text(3) ?? '') !== '';
      if (names && mapped.facts.length === 0) count.silent += 1;
      counts.set(type, count);
      for (const fact of mapped.facts) kinds.set(fact.kind, (kinds.get(fact.kind) ?? 0) + 1);
      for (const path of mapped.unmapped) expect(path).toMatch(/^(\?|[A-Z][A-Z0-9]{2}(\[\d+\])?(-\d+(\.\d+){0,2})?)$/);
    }
    const lines = [...counts].sort((a, b) => b[1].messages - a[1].messages).slice(0, 30);
    console.info(
      [
        `${messages.length} messages`,
        ...lines.map(
          ([type, count]) => `${type}: ${count.messages} messages, ${count.facts} facts, ${count.silent} silent`,
        ),
        [...kinds].map(([kind, count]) => `${kind} ${count}`).join(', '),
      ].join('\n'),
    );
    expect(counts.get('ADT^A01')!.messages).toBeGreaterThan(400);
    for (const type of ['ADT^A01', 'ORU^R01', 'VXU^V04', 'ADT^A08', 'ADT^A40'])
      expect(counts.get(type)!.silent).toBe(0);
  });

  it('give the same facts every time', () => {
    for (const { bytes } of messages.filter((_, index) => index % 7 === 0))
      expect(JSON.stringify(mapBytes(bytes))).toBe(JSON.stringify(mapBytes(Buffer.from(bytes))));
  });

  it('are mapped without an exception after any mutation', () => {
    const small = messages.filter(({ bytes }) => bytes.length < 20_000);
    const pieces = [
      '|',
      '^',
      '~',
      '&',
      '\\',
      '""',
      '\r',
      'PID|',
      'OBX|',
      '9'.repeat(30),
      '\u0000',
      'ß',
      '20261399',
      '-',
    ];
    fc.assert(
      fc.property(
        fc.nat(small.length - 1),
        fc.array(fc.tuple(fc.nat(), fc.nat(40), fc.constantFrom(...pieces)), { minLength: 1, maxLength: 8 }),
        (which, mutations) => {
          let text = small[which]!.bytes.toString('latin1');
          for (const [at, cut, piece] of mutations) {
            const place = at % (text.length + 1);
            text = text.slice(0, place) + piece + text.slice(place + cut);
          }
          const bytes = Buffer.from(text, 'latin1');
          expect(JSON.stringify(mapBytes(bytes))).toBe(JSON.stringify(mapBytes(bytes)));
        },
      ),
      { numRuns: 1500, seed: 20261120 },
    );
  });
});
