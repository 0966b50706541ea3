import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileLane } from '../../src/simulator/files.js';
import { sendMessages, type Lane } from '../../src/simulator/send.js';
import { simulate, type SimulatedMessage } from '../../src/simulator/simulate.js';

const OPTIONS = { patients: 12, messages: 400, seed: 3, start: '2026-03-02T06:00:00.000000Z' };

/** Answers a little later, in the order of sending within a kind. */
function laneInto(log: SimulatedMessage[]): Lane {
  return {
    async send(message) {
      const kindUnderWay = message.kind;
      await new Promise((resolve) => setImmediate(resolve));
      expect(kindUnderWay).toBe(message.kind);
      log.push(message);
      return message.kind === 'fhir' ? 'skipped' : 'taken';
    },
    close: () => undefined,
  };
}

describe('sending', () => {
  it('keeps each person’s messages in order, whatever their kinds, and counts them', async () => {
    const arrived: SimulatedMessage[] = [];
    const result = await sendMessages(
      simulate(OPTIONS),
      Array.from({ length: 5 }, () => laneInto(arrived)),
    );
    const all = [...simulate(OPTIONS)];
    expect(result.taken + result.skipped).toBe(400);
    expect(result.skipped).toBe(all.filter((message) => message.kind === 'fhir').length);
    for (let person = 0; person < 12; person += 1) {
      const of = (messages: readonly SimulatedMessage[]) =>
        messages.filter(({ truth }) => truth.person === person).map(({ truth }) => truth.controlId);
      expect(of(arrived)).toEqual(of(all));
    }
  });

  it('never has messages of two kinds under way on one lane', async () => {
    const underWay = new Map<SimulatedMessage['kind'], number>();
    let most = 0;
    const lane: Lane = {
      async send({ kind }) {
        underWay.set(kind, (underWay.get(kind) ?? 0) + 1);
        for (const [other, count] of underWay) if (other !== kind) expect(count).toBe(0);
        if (kind !== 'hl7') expect(underWay.get(kind)).toBe(1);
        most = Math.max(most, underWay.get(kind) ?? 0);
        await new Promise((resolve) => setImmediate(resolve));
        underWay.set(kind, (underWay.get(kind) ?? 0) - 1);
        return 'taken';
      },
      close: () => undefined,
    };
    await sendMessages(simulate(OPTIONS), [lane], { window: 4 });
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(4);
  });

  it('stops where a lane breaks, and says why', async () => {
    let sent = 0;
    const lane: Lane = {
      async send() {
        sent += 1;
        if (sent === 10) throw new Error('broken');
        return 'taken';
      },
      close: () => undefined,
    };
    await expect(sendMessages(simulate(OPTIONS), [lane], { window: 1 })).rejects.toThrow('broken');
    expect(sent).toBeLessThan(15);
  });
});

describe('files', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-simulate-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  const write = async (target: string) => {
    const lane = await fileLane(target);
    const result = await sendMessages(simulate(OPTIONS), [lane]);
    await lane.close();
    return result;
  };
  const all = [...simulate(OPTIONS)];
  const hl7 = Buffer.concat(all.filter(({ kind }) => kind === 'hl7').map(({ bytes }) => bytes));
  const lines = all.filter(({ kind }) => kind !== 'hl7').map(({ bytes }) => `${bytes.toString('utf8')}\n`);

  it('take everything in a folder, byte for byte', async () => {
    expect(await write(path.join(folder, 'day'))).toMatchObject({ taken: 400, skipped: 0 });
    expect((await readFile(path.join(folder, 'day', 'messages.hl7'))).equals(hl7)).toBe(true);
    expect(await readFile(path.join(folder, 'day', 'events.ndjson'), 'utf8')).toBe(lines.join(''));
  });

  it('take one kind where the name says so', async () => {
    expect(await write(path.join(folder, 'a.hl7'))).toMatchObject({ skipped: lines.length });
    expect((await readFile(path.join(folder, 'a.hl7'))).equals(hl7)).toBe(true);
    await write(path.join(folder, 'b.ndjson'));
    expect(await readFile(path.join(folder, 'b.ndjson'), 'utf8')).toBe(lines.join(''));
  });
});
