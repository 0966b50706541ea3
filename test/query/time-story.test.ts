/** Sends the messages of docs/time.md, asks its questions, and holds its answers against the hub's. */
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { person, TestHub } from './support.js';

const PAGE = path.resolve(import.meta.dirname, '../../docs/time.md');

let hub: TestHub;
beforeAll(async () => {
  hub = await TestHub.start();
});
afterAll(() => hub.stop());

it('every answer of the page is what the hub says', async () => {
  const blocks = [...readFileSync(PAGE, 'utf8').matchAll(/^```(\w+) ?(\S*)\n([^]*?)^```$/gm)];
  const { record, patient } = person();
  const positions = new Map<string, string>();
  const asked: { readonly query: string; readonly answer: unknown }[] = [];
  let query = '';
  for (const [, form = '', name = '', text = ''] of blocks) {
    if (form === 'hl7') {
      const content = text.trim().split('\n');
      const sent = await hub.send({ record, patient, content, controlId: content[0]?.split('|')[9] ?? '' });
      positions.set(name, sent.position.toString());
    } else if (form === 'graphql') query = text;
    else if (form === 'json') asked.push({ query, answer: JSON.parse(text) as unknown });
  }
  expect([...positions.keys()]).toEqual(['admission', 'result', 'transfer', 'late', 'correction']);
  expect(asked).toHaveLength(5);
  for (const { query: question, answer } of asked) {
    const filled = question.replace(/<(\w+)>/g, (_, name: string) => positions.get(name) ?? 'unknown');
    expect(await hub.data(filled)).toEqual(answer);
  }
});
