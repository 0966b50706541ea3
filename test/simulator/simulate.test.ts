import { describe, expect, it } from '@jest/globals';
import { createHash } from 'node:crypto';
import { readClinicalEvent } from '../../src/inbound/events/validation.js';
import { builtInSource } from '../../src/inbound/source.js';
import { readHl7 } from '../../src/inbound/hl7/reader.js';
import { readReceived } from '../../src/inbound/reading.js';
import { Random } from '../../src/simulator/random.js';
import { simulate, type SimulatedMessage, type SimulateOptions } from '../../src/simulator/simulate.js';
import { parseHl7Time } from '../../src/time/parse.js';

const START = '2026-03-02T06:00:00.000000Z';
const OPTIONS: SimulateOptions = { patients: 60, messages: 3_000, seed: 7, start: START };
const CONTENT_TYPES = {
  hl7: 'x-application/hl7-v2+er7',
  event: 'application/json',
  fhir: 'application/fhir+json',
} as const;

const all = [...simulate(OPTIONS)];
const digest = (messages: Iterable<SimulatedMessage>): string => {
  const hash = createHash('sha256');
  for (const { kind, at, bytes, truth } of messages)
    hash.update(kind).update(at).update(bytes).update(JSON.stringify(truth));
  return hash.digest('hex');
};
const withQuirk = (quirk: string) => all.filter((message) => message.truth.quirk === quirk);

describe('the simulated hospital', () => {
  it('sends the same bytes for the same seed, and others for another', () => {
    expect(digest(simulate(OPTIONS))).toBe(digest(all));
    expect(digest(simulate({ ...OPTIONS, seed: 8 }))).not.toBe(digest(all));
  });

  it('sends these very bytes, on every machine and with every version', () => {
    expect(digest(simulate({ patients: 5, messages: 200, seed: 1, start: START }))).toBe(
      'bf5f5bbef1ccbad09b865800c29afce729c28da4ac59652afaf8283171662b35',
    );
  });

  it('sends exactly as many messages as asked for, in order of time, about everybody', () => {
    for (const [patients, messages] of [
      [1, 1],
      [10, 3],
      [10, 10],
      [7, 100],
      [100, 0],
    ] as const) {
      const sent = [...simulate({ ...OPTIONS, patients, messages })];
      expect(sent).toHaveLength(messages);
      expect(sent.map((message) => message.at)).toEqual(sent.map((message) => message.at).sort());
      expect(new Set(sent.map((message) => message.truth.person)).size).toBe(Math.min(patients, messages));
    }
  });

  it('tells nobody’s story differently for how many others there are', () => {
    const few = [...simulate({ ...OPTIONS, patients: 1, messages: 50 })];
    const many = [...simulate({ ...OPTIONS, patients: 4, messages: 200 })].filter(
      (message) => message.truth.person === 0,
    );
    expect(digest(many)).toBe(digest(few));
  });

  it('writes every message so that the hub reads it without a fault', () => {
    for (const { kind, bytes } of all) {
      const read = readReceived({
        transport: kind === 'hl7' ? 'mllp' : 'http',
        source: builtInSource(kind === 'hl7' ? 'mllp' : 'http'),
        contentType: CONTENT_TYPES[kind],
        bytes,
      });
      expect(read.problem).toBeUndefined();
    }
  });

  it('writes HL7 whose fields say what the truth says', () => {
    for (const { kind, bytes, truth } of all) {
      if (kind !== 'hl7') continue;
      const message = readHl7(bytes);
      expect(message.warnings).toEqual([]);
      expect(message.segment('MSH')?.text(9, 1, 1) + '^' + message.segment('MSH')?.text(9, 1, 2)).toBe(truth.trigger);
      expect(message.segment('MSH')?.text(10)).toBe(truth.controlId);
      const pid = message.segment('PID');
      expect(pid?.text(3, 1, 1)).toBe(truth.identifier.value);
      expect(pid?.text(5, 1, 1)).toBe(truth.name.family);
      expect(pid?.text(5, 1, 2)).toBe(truth.name.given[0]);
      const evn6 = message.segment('EVN')?.text(6);
      if (evn6 !== undefined) expect(sameTime(evn6, truth.validTime)).toBe(true);
      message.all('OBX').forEach((obx, index) => {
        const result = truth.results?.[index];
        expect([obx.text(3), obx.text(5), obx.text(11)]).toEqual([result?.code, result?.value, result?.status]);
        expect(sameTime(obx.text(14), result?.at as string)).toBe(true);
      });
    }
  });

  it('writes JSON events that pass validation', () => {
    for (const { kind, bytes } of all) {
      if (kind === 'event') expect(readClinicalEvent(bytes)).not.toHaveProperty('problem');
    }
  });

  it('has everything that a hospital has: admissions, results, corrections, cancels, late ones, merges, bundles', () => {
    const triggers = new Set(all.map((message) => message.truth.trigger));
    for (const trigger of [
      ...['A01', 'A02', 'A03', 'A04', 'A06', 'A07', 'A08', 'A11', 'A12', 'A13', 'A28', 'A31', 'A40'].map(
        (a) => `ADT^${a}`,
      ),
      ...['ORU^R01', 'VXU^V04', 'Bundle', 'patient.attributes', 'patient.registered', 'observation.recorded'],
    ]) {
      expect(triggers).toContain(trigger);
    }
    for (const quirk of ['duplicate', 'conflict', 'late', 'correction', 'cancel', 'merge']) {
      expect(withQuirk(quirk).length).toBeGreaterThan(0);
    }
  });

  it('sends duplicates with the same bytes, and conflicts with the same control id and other bytes', () => {
    const sentBefore = (message: SimulatedMessage) =>
      all
        .slice(0, all.indexOf(message))
        .filter((other) => other.truth.controlId === message.truth.controlId && other.kind === message.kind);
    for (const message of withQuirk('duplicate')) {
      expect(sentBefore(message).some((other) => other.bytes.equals(message.bytes))).toBe(true);
    }
    for (const message of withQuirk('conflict')) {
      expect(sentBefore(message).length).toBeGreaterThan(0);
      expect(sentBefore(message).some((other) => other.bytes.equals(message.bytes))).toBe(false);
    }
    const ordinary = all.filter(({ truth }) => truth.quirk !== 'duplicate' && truth.quirk !== 'conflict');
    expect(new Set(ordinary.map(({ truth }) => truth.controlId)).size).toBe(ordinary.length);
  });

  it('merges only a number that was registered before, of the same person', () => {
    for (const { truth, at } of withQuirk('merge')) {
      const registered = all.filter(
        (other) => other.at < at && other.truth.identifier.value === truth.mergedIdentifier?.value,
      );
      expect(registered.length).toBeGreaterThan(0);
      expect(registered.every((other) => other.truth.person === truth.person)).toBe(true);
    }
  });

  it('takes back with a cancel exactly the time of an event, told before in most cases, after it in some', () => {
    const cancels = withQuirk('cancel');
    const tellingOf = ({ truth }: SimulatedMessage) =>
      all.find(
        (other) =>
          other.truth.visit === truth.visit &&
          other.truth.quirk !== 'cancel' &&
          other.truth.validTime === truth.validTime,
      );
    const told = cancels.filter((cancel) => tellingOf(cancel) !== undefined);
    expect(told.length).toBeGreaterThan(cancels.length * 0.98);
    const overtaking = told.filter((cancel) => (tellingOf(cancel) as SimulatedMessage).at > cancel.at);
    expect(overtaking.length).toBeGreaterThan(0);
    expect(overtaking.length).toBeLessThan(told.length / 5);
  });

  it('fills messages up to about the size asked for', () => {
    const large = [...simulate({ ...OPTIONS, messages: 300, sizeBytes: 20_000 })];
    for (const { bytes } of large) {
      expect(bytes.length).toBeGreaterThan(17_000);
      expect(bytes.length).toBeLessThan(23_000);
    }
  });

  it('refuses numbers that make no sense', () => {
    expect(() => [...simulate({ ...OPTIONS, patients: 0 })]).toThrow(RangeError);
    expect(() => [...simulate({ ...OPTIONS, messages: -1 })]).toThrow(RangeError);
    expect(() => [...simulate({ ...OPTIONS, seed: 0.5 })]).toThrow(RangeError);
  });
});

describe('its random numbers', () => {
  it('are spread evenly, and differ from seed to seed', () => {
    const random = new Random(1, 2, 3);
    const counts = Array.from({ length: 10 }, () => 0);
    for (let draw = 0; draw < 100_000; draw += 1)
      counts[random.between(0, 9)] = (counts[random.between(0, 9)] ?? 0) + 1;
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(600);
    const firsts = Array.from({ length: 10_000 }, (_, index) => new Random(1, 2, index).fraction());
    expect(new Set(firsts).size).toBeGreaterThan(9_990);
    const mean = firsts.reduce((sum, value) => sum + value, 0) / firsts.length;
    expect(Math.abs(mean - 0.5)).toBeLessThan(0.02);
  });
});

function sameTime(text: string, instant: string): boolean {
  return parseHl7Time(text, { timeZone: 'UTC' })?.instant.slice(0, 24) === instant.slice(0, 24);
}
