import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  compileConformance,
  conformanceProblems,
  impossibleRule,
  MOST_PROBLEMS,
} from '../../src/inbound/conformance/compile.js';
import { DATA_TYPES, typeFault } from '../../src/inbound/conformance/data-types.js';
import { codesOfTable, TABLE_NUMBERS } from '../../src/inbound/conformance/tables.js';
import { readHl7 } from '../../src/inbound/hl7/reader.js';
import { readSourceSettings } from '../../src/inbound/sources/settings.js';
import { builtInSource, type ConformanceRule, type SourceConformance } from '../../src/inbound/source.js';
import { sharedData, sharedFiles } from '../support/shared-data.js';
import { hl7, openTestHub, type TestHub } from './support.js';

const RESULT = [
  'MSH|^~\\&|LAB|MERCY|HUB|MAIN|20260301101500||ORU^R01^ORU_R01|C1|P|2.5.1',
  'PID|1||12345^^^MERCY^MR~777^^^SSA^SS||Okafor^Ada||19840229|F',
  'OBR|1|P1|F1|24323-8^CMP^LN|||20260301093000',
  'OBX|1|NM|2345-7^Glucose^LN||5.4|mmol/L|||||F|||20260301093000',
  'OBX|2|NM|2951-2^Sodium^LN||high|mmol/L|||||Q|||20260301',
  '',
].join('\r');

function problemsOf(text: string, ...rules: ConformanceRule[]): string[] {
  const bytes = Buffer.from(text);
  return compileConformance(rules)(readHl7(bytes)).map(({ code, path, byteOffset }) => {
    expect(byteOffset).toBeLessThanOrEqual(bytes.length);
    return `${code} ${path} ${byteOffset}`;
  });
}

const at = (text: string): number => RESULT.indexOf(text);

describe('rules', () => {
  test('a required segment that is missing is told at the end of the message', () => {
    expect(problemsOf(RESULT, { path: 'PV1', required: true }, { path: 'PID', required: true })).toEqual([
      `REQUIRED_SEGMENT_MISSING PV1 ${RESULT.length}`,
    ]);
  });

  test('a required field is asked of every segment of its name, and of none that is not there', () => {
    expect(problemsOf(RESULT, { path: 'OBX-8', required: true }, { path: 'AL1-3', required: true })).toEqual([
      `REQUIRED_FIELD_MISSING OBX-8 ${at('|||||F|||20260301093000') + 3 - 1}`,
      `REQUIRED_FIELD_MISSING OBX[2]-8 ${at('|||||Q') + 2}`,
    ]);
  });

  test('`""` is no value, and neither are separators', () => {
    const pid = 'MSH|^~\\&|A|||||||1\rPID|1|""|^^&|x';
    expect(problemsOf(pid, ...['PID-2', 'PID-3', 'PID-4'].map((path) => ({ path, required: true })))).toEqual([
      'REQUIRED_FIELD_MISSING PID-2 25',
      'REQUIRED_FIELD_MISSING PID-3 28',
    ]);
  });

  test('a required component is asked of every repetition that says something', () => {
    expect(problemsOf('MSH|^~\\&|A\rPID|1||1^^^M~2~^~3^^^&X', { path: 'PID-3.4', required: true })).toEqual([
      'REQUIRED_FIELD_MISSING PID-3[2].4 18',
    ]);
  });

  test('types, tables, lengths and cardinality have codes of their own', () => {
    expect(
      problemsOf(
        RESULT,
        { path: 'OBX-5', type: 'NM', where: { path: 'OBX-2', values: ['NM'] } },
        { path: 'OBX-5', type: 'VARIES' },
        { path: 'OBX-11', table: '0085' },
        { path: 'OBX-14', type: 'DTM' },
        { path: 'PID-3', max: 1, maxLength: 12 },
        { path: 'PID-8', table: ['M', 'X'] },
        { path: 'OBX', max: 1, messages: ['ORU^*'] },
        { path: 'NTE', min: 1, messages: ['ADT^A01'] },
        { path: 'PID-8', forbidden: true, messages: ['ORU^R01'] },
      ),
    ).toEqual([
      `INVALID_CARDINALITY PID-3[2] ${at('12345')}`,
      `VALUE_TOO_LONG PID-3 ${at('12345')}`,
      `CODE_NOT_IN_TABLE PID-8 ${at('F\rOBR')}`,
      `VALUE_NOT_ALLOWED PID-8 ${at('F\rOBR')}`,
      `INVALID_DATA_TYPE OBX[2]-5 ${at('high')}`,
      `INVALID_DATA_TYPE OBX[2]-5 ${at('high')}`,
      `CODE_NOT_IN_TABLE OBX[2]-11 ${at('Q|||')}`,
      `SEGMENT_CARDINALITY OBX[2] ${at('OBX|2')}`,
    ]);
  });

  test.each([
    ['NM', '5.4', '-.5', ['', 'five', '1e3', '5^4']],
    ['SI', '1', '9999', ['12345', 'a', '-1']],
    ['DT', '2026', '20260229'.replace('0229', '0228'), ['20260230', '202603011015', '2026-03-01']],
    ['DTM', '20260301101500.1234+0100', '202603', ['20261301', 'today', '20260301+25']],
    ['TM', '1015', '101500.12+0100', ['2460', '10:15']],
    ['CX', '1^^^M^MR', '1^^^&1.2.3&ISO', ['^^^M^MR', '1^^^M^MR^^today']],
    ['XPN', 'Okafor&van^Ada', '^Ada', ['^^^Dr', 'Okafor^Ada^^^^^L^^^^^yesterday']],
    ['XTN', '^PRN^PH^^1^217^5550100', '555-0100', ['^PRN^PH', '^PRN^PH^^one^217^5550100']],
    ['CWE', 'A^B^L', '^Text only', ['^^L']],
    ['HD', 'M', '^1.2.3^ISO', ['^^ISO']],
    ['EI', '1^M', '1', ['^M']],
    ['TS', '20260301^D', '2026', ['x^D']],
    ['SN', '^5^-^7', '>^100', ['>^many']],
    ['ED', '^application^pdf^Base64^QUJD', '^TEXT^^A^x', ['^application^pdf^Base64']],
  ])('%s takes what is one and nothing else', (type, good, better, bad) => {
    const check = compileConformance([{ path: 'ZZZ-1', type }]);
    const found = (value: string): number => check(readHl7(Buffer.from(`MSH|^~\\&|A\rZZZ|${value}|`))).length;
    expect([found(good), found(better)]).toEqual([0, 0]);
    for (const value of bad) expect([value, found(value)]).toEqual([value, value === '' ? 0 : 1]);
  });

  test('rules that ask different things of one field are each held to', () => {
    const asked = (...rules: Omit<ConformanceRule, 'path'>[]): string[] =>
      problemsOf('MSH|^~\\&|A\rZZZ|NM|4^ABC', ...rules.map((rule) => ({ path: 'ZZZ-2.1', ...rule })));
    const where = { path: 'ZZZ-1', values: ['DT'] };
    expect(asked({ type: 'NM' }, { type: 'DT' })).toEqual(['INVALID_DATA_TYPE ZZZ-2.1 18']);
    expect(asked({ type: 'NM' }, { type: 'DT', where })).toEqual([]);
    expect(asked({ table: ['4'] }, { table: ['5'] }, { type: 'NM' })).toEqual(['CODE_NOT_IN_TABLE ZZZ-2.1 18']);
    const whole = (...rules: ConformanceRule[]): string[] => problemsOf('MSH|^~\\&|A\rZZZ|4', ...rules);
    expect(whole({ path: 'ZZZ-1', type: 'NM' }, { path: 'ZZZ-1', type: 'DT' })).toEqual(['INVALID_DATA_TYPE ZZZ-1 15']);
    expect(whole({ path: 'ZZZ-1', table: ['4'] }, { path: 'ZZZ-1', table: ['5'] })).toEqual([
      'CODE_NOT_IN_TABLE ZZZ-1 15',
    ]);
    expect(
      whole({ path: 'ZZZ-1', type: 'NM', max: 1 }, { path: 'ZZZ-1', min: 2 }, { path: 'ZZZ-1.2', required: true }),
    ).toEqual(['INVALID_CARDINALITY ZZZ-1 15', 'REQUIRED_FIELD_MISSING ZZZ-1.2 15']);
  });

  test('the component at fault is named', () => {
    expect(problemsOf('MSH|^~\\&|A\rZZZ|1^^^M~2^^^M^^^2026x', { path: 'ZZZ-1', type: 'CX' })).toEqual([
      'INVALID_DATA_TYPE ZZZ-1[2].7 15',
    ]);
    expect(problemsOf('MSH|^~\\&|A\rZZZ|1^2^x', { path: 'ZZZ-1.3', type: 'NM' })).toEqual([
      'INVALID_DATA_TYPE ZZZ-1.3 15',
    ]);
  });

  test('offsets are those of the bytes in every character set', () => {
    for (const [set, encoding] of [
      ['UNICODE UTF-8', 'utf8'],
      ['8859/1', 'latin1'],
    ] as const) {
      const bytes = Buffer.from(`MSH|^~\\&|A|||||||||2.5||||||${set}\rPID|ü|é|x|y`, encoding);
      const [problem] = compileConformance([{ path: 'PID-3', forbidden: true }])(readHl7(bytes));
      expect(problem?.byteOffset).toBe(bytes.indexOf('x|y'));
    }
  });

  test('a hostile message gets a bounded number of problems', () => {
    const text = `MSH|^~\\&|A\r${'OBX|1|NM|c||x\r'.repeat(500)}`;
    expect(problemsOf(text, { path: 'OBX-5', type: 'NM' }).length).toBe(MOST_PROBLEMS);
    const repeated = `MSH|^~\\&|A\rOBX|1|NM|c||${'x~'.repeat(500)}`;
    expect(problemsOf(repeated, { path: 'OBX-5', type: 'NM' }).length).toBe(MOST_PROBLEMS);
  });

  test('a glance at a field finds what a proper look at it does, also where segments say the same', () => {
    const part = fc.constantFrom(
      '',
      '4.1',
      '20260228',
      '20260229',
      '2026',
      '202603011015',
      '20269901',
      'x y',
      ' x',
      '""',
      'ABC',
      '\\F\\',
      '\\X0D\\',
      '1&2',
      '7',
      '&x',
      'x&y& z',
      '2026&20269901',
    );
    const value = fc
      .array(fc.array(part, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 2 })
      .map((repetitions) => repetitions.map((components) => components.join('^')).join('~'));
    fc.assert(
      fc.property(
        value,
        fc.constantFrom(...DATA_TYPES),
        fc.constantFrom('NM', 'DTM', 'CWE', 'XYZ', ''),
        (text, type, named) => {
          const line = `OBX|1|${named}|${text}|\r`;
          const message = readHl7(Buffer.from(`MSH|^~\\&|A\r${line}${line}`));
          const [first] = message.all('OBX');
          let faults = 0;
          const count = first!.isNull(3) ? 0 : first!.repetitions(3);
          for (let repetition = 1; repetition <= count; repetition += 1) {
            if (typeFault(first!, 3, repetition, type) !== undefined) faults += 1;
          }
          expect(compileConformance([{ path: 'OBX-3', type }])(message)).toHaveLength(2 * faults);
          const two = compileConformance([{ path: 'OBX-3', type, min: 2, max: 2 }])(message);
          expect(two).toHaveLength(2 * (faults + (count === 2 ? 0 : 1)));
          const limited = compileConformance([{ path: 'OBX-3', maxLength: 3, max: 1, table: ['7', 'ABC', ''] }]);
          const alone = limited(readHl7(Buffer.from(`MSH|^~\\&|A\r${line}`)));
          expect(limited(message)).toHaveLength(2 * alone.length);
          const [component] = text.split('~');
          const wrong = component !== '' && !['7', 'ABC', '', '""'].includes(component!.split('^')[0]!.split('&')[0]!);
          if (!text.includes('~') && !text.includes('\\') && count === 1)
            expect(alone.some(({ code }) => code === 'CODE_NOT_IN_TABLE')).toBe(wrong);
        },
      ),
      { numRuns: 1_500, seed: 5 },
    );
  });

  test('the same message in UTF-16, whose bytes no glance can read, has the same problems', () => {
    const part = fc.constantFrom(
      '',
      '',
      '',
      '4',
      '20240229',
      '20230229',
      '1.',
      ' x',
      '""',
      'F',
      'QQ',
      '\\T\\',
      '\\H\\',
      'M&1&ISO',
      '&',
      '&x',
      'é',
    );
    const field = fc
      .array(fc.array(part, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 3 })
      .map((repetitions) => repetitions.map((components) => components.join('^')).join('~'));
    const content = {
      required: fc.boolean(),
      type: fc.constantFrom(...DATA_TYPES),
      table: fc.constantFrom<(string | string[])[]>('0085', ['4', 'QQ', 'é'], ['ADT']),
      maxLength: fc.integer({ min: 1, max: 12 }),
    };
    const often = fc.integer({ min: 1, max: 3 });
    const asked = fc.oneof(
      fc.record(
        { path: fc.constantFrom('OBX-3', 'OBX-5', 'MSH-2', 'MSH-9'), ...content, min: often, max: often },
        { requiredKeys: ['path'] },
      ),
      fc.record(
        { path: fc.constantFrom('OBX-3.1', 'OBX-3.2', 'OBX-5.2', 'OBX-3.1.2', 'MSH-9.2'), ...content },
        { requiredKeys: ['path', 'required'] },
      ),
    );
    const where = { path: 'OBX-2', values: ['NM', ''] };
    const rules = fc.array(
      fc
        .tuple(asked, fc.boolean())
        .map(([rule, isConditional]) => (isConditional && rule.path.startsWith('OBX') ? { ...rule, where } : rule)),
      { minLength: 1, maxLength: 4 },
    );
    fc.assert(
      fc.property(rules, field, field, fc.constantFrom('NM', 'CX', 'XPN', 'T&', ''), (asked, one, two, type) => {
        const possible = asked.filter((rule) => impossibleRule(rule) === undefined);
        const text = `MSH|^~\\&|A||||||ADT^A01\rOBX|1|${type}|${one}||${two}\rOBX\rOBX|2|NM|${two}\r`;
        const [near, far] = [Buffer.from(text), Buffer.from(text, 'utf16le')].map((bytes) =>
          compileConformance(possible)(readHl7(bytes)).map(({ code, path }) => `${code} ${path}`),
        );
        expect(near).toEqual(far);
      }),
      { numRuns: 3_000, seed: 6 },
    );
  });

  test('whatever the bytes, checking neither throws nor repeats content', () => {
    const rules: ConformanceRule[] = [
      ...DATA_TYPES.map((type) => ({ path: 'PID-3', type })),
      ...TABLE_NUMBERS.map((table) => ({ path: 'PID-3.1', table })),
      { path: 'PID-3.4.2', required: true, type: 'ID', maxLength: 1 },
      { path: 'PID-3.4', type: 'HD' },
      { path: 'PV1', required: true },
    ];
    const check = compileConformance(rules);
    const piece = fc.constantFrom('|', '^', '~', '&', '\\', '""', '\r', 'PID|', 'CANARY', '2026', '\u00e9', '\\X41\\');
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
        const problems = check(readHl7(Buffer.from(`MSH|^~\\&|A\rPID|1||${pieces.join('')}`)));
        expect(JSON.stringify(problems)).not.toContain('CANARY');
        for (const { path } of problems) expect(path).toMatch(/^[A-Z0-9]{3}(\[\d+\])?(-\d+(\[\d+\])?(\.\d+){0,2})?$/);
      }),
      { numRuns: 500, seed: 20261121 },
    );
  });
});

describe('settings', () => {
  const read = (rule: unknown): unknown =>
    readSourceSettings('lab', { conformance: { mode: 'warn', rules: [rule] } }).conformance?.rules[0];

  test('a rule that cannot be is refused by the setting at fault', () => {
    const rule = { path: 'OBX-5', type: 'NM', where: { path: 'OBX-2', values: ['NM'] } };
    expect(read(rule)).toEqual(rule);
    for (const [bad, key] of [
      [{ path: 'OBX-5', type: 'XXX' }, 'type'],
      [{ path: 'OBX-5', table: '9999' }, 'table'],
      [{ path: 'OBX', type: 'NM' }, 'type'],
      [{ path: 'OBX-5', required: true, forbidden: true }, 'forbidden'],
      [{ path: 'OBX-5.1', max: 2 }, 'max'],
      [{ path: 'OBX-5', min: 3, max: 2 }, 'max'],
      [{ path: 'OBX-5', type: 'NM', where: { path: 'OBR-4', values: ['x'] } }, 'where.path'],
      [{ path: 'OBX-5' }, 'path'],
    ] as const) {
      expect(() => read(bad)).toThrow(expect.objectContaining({ key: `conformance.rules[0].${key}` }));
    }
  });

  test('tables are named with and without HL7', () => {
    expect(codesOfTable('HL70001')).toBe(codesOfTable('0001'));
    expect([codesOfTable('0001')?.has('F'), codesOfTable('0211')?.has('GB 18030-2000'), codesOfTable('1')]).toEqual([
      true,
      true,
      undefined,
    ]);
  });
});

const data = sharedData();
(data === undefined ? test.skip : test)(
  'a usual set of rules can be checked against every message of real senders',
  () => {
    const conformance: SourceConformance = {
      mode: 'warn',
      rules: [
        { path: 'MSH-7', type: 'TS' },
        { path: 'PID', required: true, messages: ['ADT^*', 'ORU^R01'] },
        { path: 'PID-3', required: true, type: 'CX' },
        { path: 'PID-7', type: 'TS' },
        { path: 'PID-8', table: '0001' },
        { path: 'OBX-5', type: 'VARIES' },
        { path: 'OBX-11', required: true, table: '0085' },
      ],
    };
    let problems = 0;
    let clean = 0;
    for (const { bytes } of sharedFiles('messages', ['.hl7'])) {
      const found = conformanceProblems(conformance, readHl7(bytes));
      problems += found.length;
      if (found.length === 0) clean += 1;
    }
    expect(problems).toBeGreaterThan(0);
    expect(clean).toBeGreaterThan(100);
  },
);

describe('in the intake', () => {
  let hub: TestHub;
  beforeAll(async () => {
    hub = await openTestHub();
  });
  afterAll(async () => {
    await hub.close();
  });
  const source = (mode: SourceConformance['mode'], rules: readonly ConformanceRule[]) => ({
    ...builtInSource('mllp'),
    conformance: { mode, rules },
  });
  const rules: readonly ConformanceRule[] = [{ path: 'OBX-5', type: 'VARIES' }];
  const sent = (id: string): string => RESULT.replace('C1', id);

  test('off: nothing is said; warn: the warning stands in the envelope; reject: kept, parked and answered AE', async () => {
    const off = await hub.intake.receive({ ...hl7(sent('OFF')), source: source('off', rules) });
    const warn = await hub.intake.receive({ ...hl7(sent('WARN')), source: source('warn', rules) });
    const reject = await hub.intake.receive({ ...hl7(sent('REJECT')), source: source('reject', rules) });
    const byteOffset = sent('REJECT').indexOf('high');
    expect([off.answer, warn.answer, reject.answer]).toEqual(['AA', 'AA', 'AE']);
    expect(reject.problem).toEqual({ code: 'INVALID_DATA_TYPE', path: 'OBX[2]-5', byteOffset });
    const events = await hub.events();
    const validation = (id: string): unknown => events.find((event) => event.id === id)?.envelope.validation;
    expect(validation(off.messageId)).toEqual({ state: 'valid' });
    expect(validation(warn.messageId)).toEqual({ state: 'valid', warnings: ['INVALID_DATA_TYPE OBX[2]-5'] });
    expect(validation(reject.messageId)).toEqual({
      state: 'parked',
      code: 'INVALID_DATA_TYPE',
      path: 'OBX[2]-5',
      byteOffset,
    });
    const stored = events.find((event) => event.id === reject.messageId);
    expect(stored?.content?.toString()).toBe(sent('REJECT'));
  });

  test('a rejected message stands in its patient’s line, but not where the fault is in who that is, or it would merge', async () => {
    const recordOf = async (text: string, rule: ConformanceRule): Promise<[string | undefined, string | undefined]> => {
      const outcome = await hub.intake.receive({ ...hl7(text), source: source('reject', [rule]) });
      expect(outcome.status).toBe('parked');
      const event = (await hub.events()).find((one) => one.id === outcome.messageId);
      return [event?.envelope.sourceRecordId, event?.envelope.identity?.method];
    };
    const [record] = await recordOf(sent('LINE'), rules[0]!);
    expect(record).toEqual(expect.any(String));
    const [unknown] = await recordOf(sent('WHO'), { path: 'PID-8', table: ['M'] });
    expect(unknown).toBeUndefined();
    const merge =
      'MSH|^~\\&|ADT|MERCY|HUB|MAIN|20260301101500||ADT^A40^ADT_A39|MERGE|P|2.5.1\rPID|1||12345^^^MERCY^MR\rMRG|999^^^MERCY^MR\rZZZ|x\r';
    const [merged] = await recordOf(merge, { path: 'ZZZ-1', forbidden: true });
    expect(merged).toBeUndefined();
  });
});
