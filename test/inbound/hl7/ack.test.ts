import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import iconv from 'iconv-lite';
import {
  acknowledgmentCode,
  ackPolicy,
  answerWanted,
  applicationAckId,
  applicationAckWanted,
  applicationCondition,
  buildAck,
  buildApplicationAck,
  type AckPolicy,
  type Answer,
} from '../../../src/inbound/hl7/ack.js';
import { exchangeHl7, MOST_BATCH_MESSAGES } from '../../../src/inbound/hl7/exchange.js';
import { splitMessages } from '../../../src/inbound/hl7/batch.js';
import { readHl7 } from '../../../src/inbound/hl7/reader.js';
import type { Intake, ReceivedMessage } from '../../../src/inbound/received.js';
import { builtInSource, type SourceConfiguration } from '../../../src/inbound/source.js';

const ACCEPTED: Answer = {
  code: 'AA',
  messageId: '0f0e0d0c-0b0a-8900-8807-060504030201',
  recordedAt: '2026-03-01T10:15:30.123456Z',
};
const ERROR: Answer = {
  ...ACCEPTED,
  code: 'AE',
  problem: { code: 'INVALID_TIME', path: 'OBX[3]-14', byteOffset: 612 },
};
const REJECTED: Answer = { ...ACCEPTED, code: 'AR', problem: { code: 'NO_MSH', byteOffset: 0 } };

const message = (
  options: { accept?: string; application?: string; version?: string; id?: string; charset?: string } = {},
): string =>
  `MSH|^~\\&|ADT1|MERCY|HUB|MAIN|20260301||ADT^A08^ADT_A01|${options.id ?? 'MSG1'}|T|${options.version ?? '2.5.1'}|||${options.accept ?? ''}|${options.application ?? ''}||${options.charset ?? ''}\rPID|1||SECRET1^^^M||SECRET2\r`;
const ack = (text: string, answer: Answer = ACCEPTED): string[] =>
  buildAck(readHl7(Buffer.from(text)), answer)
    .toString()
    .split('\r');

test('the answer exchanges the addresses, echoes the control id and keeps processing id and version', () => {
  const lines = ack(message());
  expect(lines[0]).toMatch(
    /^MSH\|\^~\\&\|HUB\|MAIN\|ADT1\|MERCY\|20260301101530\.1234\+0000\|\|ACK\^A08\^ACK\|[0-9A-F]{20}\|T\|2\.5\.1$/,
  );
  expect(lines.slice(1)).toEqual(['MSA|AA|MSG1', '']);
});

test.each([
  ['', '', 'AA', 'AE', 'AR'],
  ['AL', '', 'CA', 'CE', 'CR'],
  ['AL', 'AL', 'CA', 'CE', 'CR'],
  ['', 'AL', 'CA', 'CE', 'CR'],
  ['ER', 'NE', 'CA', 'CE', 'CR'],
  ['NE', 'NE', 'CA', 'CE', 'CR'],
  ['NE', '', 'CA', 'CE', 'CR'],
  ['NE', 'AL', 'AA', 'AE', 'AR'],
])('MSH-15 %j and MSH-16 %j choose the codes', (accept, application, aa, ae, ar) => {
  const codes = [ACCEPTED, ERROR, REJECTED].map(
    (answer) => ack(message({ accept, application }), answer)[1]!.split('|')[1],
  );
  expect(codes).toEqual([aa, ae, ar]);
});

test.each([
  ['', '', true, true],
  ['AL', '', true, true],
  ['NE', '', false, false],
  ['ER', '', false, true],
  ['SU', '', true, false],
  ['NE', 'AL', true, true],
  ['NE', 'ER', false, true],
  ['', 'NE', true, true],
])('MSH-15 %j and MSH-16 %j say when silence is wanted', (accept, application, onSuccess, onError) => {
  const request = readHl7(Buffer.from(message({ accept, application })));
  expect([answerWanted(request, 'AA'), answerWanted(request, 'AE'), answerWanted(request, 'AR')]).toEqual([
    onSuccess,
    onError,
    onError,
  ]);
});

describe('the mode of a source', () => {
  const original: AckPolicy = { mode: 'original', returned: false };
  const enhanced: AckPolicy = { mode: 'enhanced', returned: false };
  const returned: AckPolicy = { mode: 'auto', returned: true };
  const enhancedReturned: AckPolicy = { mode: 'enhanced', returned: true };

  test.each([
    // MSH-15, MSH-16, policy: code for AA; whether an AA and an AE are wanted with honourNever; the application acknowledgment
    ['AL', 'AL', original, 'AA', true, true, undefined],
    ['NE', 'NE', original, 'AA', true, true, undefined],
    ['', '', enhanced, 'CA', true, true, undefined],
    ['NE', '', enhanced, 'CA', false, false, undefined],
    ['NE', 'AL', enhanced, 'AA', true, true, undefined],
    ['', '', returned, 'AA', true, true, undefined],
    ['AL', '', returned, 'CA', true, true, undefined],
    ['AL', 'NE', returned, 'CA', true, true, undefined],
    ['AL', 'AL', returned, 'CA', true, true, 'AL'],
    ['ER', 'SU', returned, 'CA', false, true, 'SU'],
    ['NE', 'AL', returned, 'CA', false, false, 'AL'],
    ['NE', 'ER', returned, 'CA', false, false, 'ER'],
    ['SU', 'odd', returned, 'CA', true, false, 'AL'],
    ['', '', enhancedReturned, 'CA', true, true, 'AL'],
    ['', 'NE', enhancedReturned, 'CA', true, true, undefined],
    ['AL', 'AL', { mode: 'original', returned: true }, 'AA', true, true, undefined],
  ] as const)('MSH-15 %j, MSH-16 %j, %j', (accept, application, policy, code, onSuccess, onError, condition) => {
    const request = readHl7(Buffer.from(message({ accept, application })));
    expect(acknowledgmentCode(request, 'AA', policy)).toBe(code);
    expect([answerWanted(request, 'AA', policy), answerWanted(request, 'AE', policy)]).toEqual([onSuccess, onError]);
    expect(applicationCondition(request, policy)).toBe(condition);
  });

  test.each([
    ['AL', true, true, true],
    ['ER', false, true, true],
    ['SU', true, false, false],
  ] as const)('an application acknowledgment wanted %s', (condition, aa, ae, ar) => {
    expect((['AA', 'AE', 'AR'] as const).map((code) => applicationAckWanted(condition, code))).toEqual([aa, ae, ar]);
  });

  test('an acknowledgment is never answered with one over the return connection', () => {
    const ack = readHl7(Buffer.from('MSH|^~\\&|A|B|C|D|2026||ACK^A01|1|P|2.5.1|||AL|AL\rMSA|AA|2\r'));
    expect(applicationCondition(ack, enhancedReturned)).toBeUndefined();
  });
});

describe('an application acknowledgment', () => {
  const request = readHl7(Buffer.from(message({ accept: 'AL', application: 'AL' })));

  test('is a message of its own that asks for an accept acknowledgment, the same whenever it is made', () => {
    const built = buildApplicationAck(request, ERROR);
    expect(built).toEqual(buildApplicationAck(request, ERROR));
    const read = readHl7(built);
    const msh = read.segment('MSH')!;
    expect([5, 6, 3, 4, 15, 16].map((field) => msh.text(field))).toEqual(['ADT1', 'MERCY', 'HUB', 'MAIN', 'AL', 'NE']);
    expect([read.segment('MSA')!.text(1), read.segment('MSA')!.text(2)]).toEqual(['AE', 'MSG1']);
    expect(read.segment('ERR')!.text(5)).toBe('INVALID_TIME');
    expect(read.controlId).toBe(applicationAckId(ERROR.messageId));
    expect(read.controlId).not.toBe(readHl7(buildAck(request, ERROR)).controlId);
    expect(read.warnings).toEqual([]);
  });
});

describe('errors', () => {
  test('from 2.5 on ERR has location, condition, severity and the code', () => {
    expect(ack(message(), ERROR).slice(1)).toEqual([
      'MSA|AE|MSG1',
      'ERR||OBX^3^14^1|102^Data type error^HL70357|E|INVALID_TIME^^L||byte 612|INVALID_TIME at OBX[3]-14 (byte 612)',
      '',
    ]);
    const deep = { ...ERROR, problem: { code: 'NO_VALUE', path: 'PID-3[2].4.1' } };
    expect(ack(message(), deep)[2]).toContain('ERR||PID^1^3^2^4^1|101^Required field missing^HL70357|E|');
  });

  test('before 2.5 the error stands in ERR-1 and in MSA-3', () => {
    expect(ack(message({ version: '2.3' }), ERROR).slice(1)).toEqual([
      'MSA|AE|MSG1|INVALID_TIME at OBX[3]-14 (byte 612)',
      'ERR|OBX^3^14^102&Data type error&HL70357',
      '',
    ]);
    expect(ack(message({ version: '2.3' }))[0]).toContain('|ACK^A08|');
  });

  test('an acceptance has no ERR, even of a message that was parked', () => {
    expect(ack(message(), { ...ERROR, code: 'AA' })).toHaveLength(3);
  });

  test('a path of FHIR or JSON is no HL7 location', () => {
    expect(ack(message(), { ...ERROR, problem: { code: 'WRONG_TYPE', path: '/patient|x^y' } })[2]).toBe(
      'ERR|||102^Data type error^HL70357|E|WRONG_TYPE^^L|||WRONG_TYPE at /patient\\F\\x\\S\\y',
    );
  });
});

test('an answer without a readable header is minimal and valid', () => {
  const none = readHl7(buildAck(undefined, REJECTED));
  expect(none.warnings).toEqual([]);
  expect([none.messageCode, none.version, none.segment('MSH')!.text(11), none.segment('MSA')!.text(1)]).toEqual([
    'ACK',
    '2.5.1',
    'P',
    'AR',
  ]);
  const garbage = readHl7(buildAck(readHl7(Buffer.from('PID|1||SECRET')), REJECTED));
  expect(garbage.segment('MSA')!.value(2)).toBeUndefined();
  expect(garbage.segment('ERR')!.value(3)).toBe('100');
});

test('separators and character set are those of the request', () => {
  const sent = 'MSH$%*!@$Ärzte$M$HUB$$2026$$ADT%A01$I@D%1$P$2.4$$$$$$8859/1\rPID$1';
  const answer = buildAck(readHl7(Buffer.from(sent, 'latin1')), ERROR);
  const text = answer.toString('latin1');
  expect(text).toMatch(/^MSH\$%\*!@\$HUB\$\$Ärzte\$M\$/);
  expect(text).toContain(
    '\rMSA$AE$I@D%1$INVALID_TIME at OBX[3]-14 (byte 612)\rERR$OBX%3%14%102@Data type error@HL70357\r',
  );
  expect(readHl7(answer).charset).toBe('ISO-8859-1');
});

test('the control id comes back byte for byte, whatever the bytes', () => {
  const odd = Buffer.from(message({ id: 'caf\xe9\\F\\&^ \xff' }), 'latin1');
  const answer = buildAck(readHl7(odd), ACCEPTED);
  expect(answer.includes(Buffer.from('MSA|AA|caf\xe9\\F\\&^ \xff\r', 'latin1'))).toBe(true);
  const wide = iconv.encode(message({ id: 'Łódź', charset: 'UNICODE UTF-16' }), 'utf16le');
  expect(
    readHl7(buildAck(readHl7(wide), ACCEPTED))
      .segment('MSA')!
      .value(2),
  ).toBe('Łódź');
  expect(ack(message({ id: '' }))[1]).toBe('MSA|AA');
});

test('the same message and outcome give the same bytes, another message another control id', () => {
  expect(ack(message(), ERROR)).toEqual(ack(message(), ERROR));
  const ids = ['a', 'b'].map((messageId) => readHl7(buildAck(undefined, { ...ACCEPTED, messageId })).controlId);
  expect(new Set(ids).size).toBe(2);
});

test('nothing of a message but its header is ever repeated, and what comes back can be read', () => {
  const field = fc.stringMatching(/^[ -~]{0,12}$/);
  fc.assert(
    fc.property(
      fc.array(field, { minLength: 14, maxLength: 20 }),
      fc.constantFrom(ACCEPTED, ERROR, REJECTED),
      (fields, answer) => {
        const sent = `MSH|^~\\&|${fields.map((one) => one.replaceAll('|', '')).join('|')}\rPID|1||SECRET1||SECRET2\r`;
        const request = readHl7(Buffer.from(sent));
        const text = buildAck(request, answer).toString();
        expect(text).not.toContain('SECRET');
        const back = readHl7(Buffer.from(text));
        expect(back.warnings.filter(({ code }) => !code.includes('CHARSET'))).toEqual([]);
        expect(back.segment('MSA')!.rawField(2)).toBe(request.segment('MSH')!.rawField(10));
        expect(back.segments.map(({ name }) => name)).toEqual(['MSH', 'MSA', ...(answer.code === 'AA' ? [] : ['ERR'])]);
      },
    ),
  );
});

describe('an exchange', () => {
  const source = (more: Partial<SourceConfiguration> = {}): SourceConfiguration => ({
    ...builtInSource('mllp'),
    ...more,
  });
  const frame = (text: string, more: Partial<ReceivedMessage> = {}): ReceivedMessage => ({
    transport: 'mllp',
    source: source(),
    contentType: 'x-application/hl7-v2+er7',
    bytes: Buffer.from(text),
    ...more,
  });
  class FakeIntake implements Intake {
    readonly received: ReceivedMessage[] = [];
    async receive(received: ReceivedMessage): ReturnType<Intake['receive']> {
      this.received.push(received);
      const number = this.received.length;
      const id = readHl7(received.bytes).controlId;
      if (id === 'DOWN') throw new Error('the log is away');
      if (received.fault !== undefined || id === 'BAD') {
        return {
          status: 'parked',
          messageId: `id-${number}`,
          position: BigInt(number),
          recordedAt: ACCEPTED.recordedAt,
          answer: id === 'BAD' ? 'AE' : 'AR',
          problem: received.fault ?? { code: 'BAD_THING' },
        };
      }
      return {
        status: 'accepted',
        messageId: `id-${number}`,
        position: BigInt(number),
        recordedAt: ACCEPTED.recordedAt,
        answer: 'AA',
      };
    }
  }
  const msa = (answer: Buffer | undefined): string[] =>
    readHl7(answer!)
      .all('MSA')
      .map((segment) => `${segment.text(1)} ${segment.text(2)}`);

  test('the mode is that of the source', () => {
    const own = source({ ackMode: 'enhanced', returnConnection: { host: 'localhost', port: 1 } });
    expect(ackPolicy(own)).toEqual({ mode: 'enhanced', returned: true });
    expect(ackPolicy(source({}))).toEqual({ mode: 'auto', returned: false });
  });

  test('the mode of the source decides what a frame is answered', async () => {
    const ask = async (text: string, own: Partial<SourceConfiguration>): Promise<string[]> =>
      msa((await exchangeHl7(new FakeIntake(), frame(text, { source: source(own) }))).answer);
    expect(await ask(message({ id: '1', accept: 'AL' }), { ackMode: 'original' })).toEqual(['AA 1']);
    expect(await ask(message({ id: '1' }), { ackMode: 'enhanced' })).toEqual(['CA 1']);
    expect(await ask(message({ id: 'DOWN' }), { ackMode: 'enhanced' })).toEqual(['CE DOWN']);
    expect(await ask(message({ id: '1' }) + message({ id: 'BAD' }), { ackMode: 'enhanced' })).toEqual([
      'CA 1',
      'CE BAD',
    ]);
    expect(await ask('', { ackMode: 'enhanced' })).toEqual(['CR ']);
  });

  test('a batch is as many messages as it holds and gets one batch answer', async () => {
    const intake = new FakeIntake();
    const text = `FHS|^~\\&|LAB|F|HUB|H||||x|FILE1\rBHS|^~\\&|LAB|F|HUB|H|||||BATCH1\r${message({ id: '1' })}${message({ id: 'BAD' })}BTS|2\rBHS|^~\\&|LAB\r${message({ id: '3' })}BTS|1\rFTS|2\r`;
    const { answer, outcomes } = await exchangeHl7(intake, frame(text));
    expect(intake.received.map(({ bytes }) => readHl7(bytes).controlId)).toEqual(['1', 'BAD', '3']);
    expect(outcomes.map((outcome) => outcome?.status)).toEqual(['accepted', 'parked', 'accepted']);
    const lines = answer!
      .toString()
      .split('\r')
      .map((line) => line.slice(0, 3));
    expect(lines).toEqual([
      'FHS',
      'BHS',
      'MSH',
      'MSA',
      'MSH',
      'MSA',
      'ERR',
      'BTS',
      'BHS',
      'MSH',
      'MSA',
      'BTS',
      'FTS',
      '',
    ]);
    const { batch, messages, warnings } = splitMessages(answer!);
    expect([batch!.fhs!.value(3), batch!.fhs!.value(5), batch!.fhs!.value(12), batch!.bhs[0]!.value(12)]).toEqual([
      'HUB',
      'LAB',
      'FILE1',
      'BATCH1',
    ]);
    expect([batch!.bts.map((segment) => segment.value(1)), batch!.fts!.value(1), warnings]).toEqual([
      ['2', '1'],
      '2',
      [],
    ]);
    expect(messages.map(({ bytes }) => readHl7(bytes).segment('MSA')!.value(1))).toEqual(['AA', 'AE', 'AA']);
  });

  test('messages one after another without envelope are answered one after another', async () => {
    const { answer } = await exchangeHl7(new FakeIntake(), frame(message({ id: '1' }) + message({ id: '2' })));
    expect(msa(answer)).toEqual(['AA 1', 'AA 2']);
  });

  test('what could not be stored is answered so that it comes again, its neighbours stay accepted', async () => {
    const one = await exchangeHl7(new FakeIntake(), frame(message({ id: 'DOWN' })));
    expect([msa(one.answer), readHl7(one.answer!).segment('ERR')!.value(5), one.failures.length]).toEqual([
      ['AE DOWN'],
      'LOG_UNAVAILABLE',
      1,
    ]);
    const enhanced = await exchangeHl7(new FakeIntake(), frame(message({ id: 'DOWN', accept: 'AL' })));
    expect(msa(enhanced.answer)).toEqual(['CE DOWN']);
    const three = await exchangeHl7(
      new FakeIntake(),
      frame(message({ id: '1' }) + message({ id: 'DOWN' }) + message({ id: '3' })),
    );
    expect(msa(three.answer)).toEqual(['AA 1', 'AE DOWN', 'AA 3']);
  });

  test('an empty frame, an empty batch and a broken frame are one message each, kept and answered', async () => {
    const intake = new FakeIntake();
    expect(msa((await exchangeHl7(intake, frame(''))).answer)).toEqual(['AR ']);
    expect(intake.received[0]!.fault).toEqual({ code: 'EMPTY_FRAME', byteOffset: 0 });
    const empty = 'BHS|^~\\&|LAB\rBTS|0\r';
    await exchangeHl7(intake, frame(empty));
    expect(intake.received[1]!.bytes.toString()).toBe(empty);
    const broken = message({ id: '1' }) + message({ id: '2' });
    expect(msa((await exchangeHl7(intake, frame(broken, { fault: { code: 'FRAME_NOT_CLOSED' } }))).answer)).toEqual([
      'AR 1',
    ]);
    expect(intake.received[2]!.bytes.toString()).toBe(broken);
  });

  test('silence is kept only where the source says so', async () => {
    const text = message({ accept: 'NE' });
    expect((await exchangeHl7(new FakeIntake(), frame(text))).answer).toBeDefined();
    expect(
      (await exchangeHl7(new FakeIntake(), frame(text, { source: source({ honourNever: true }) }))).answer,
    ).toBeUndefined();
  });

  test('more messages than a batch may hold are kept as one, and the frame is answered once', async () => {
    const intake = new FakeIntake();
    const text = 'MSH|^~\\&|\r'.repeat(MOST_BATCH_MESSAGES + 1);
    const { answer, outcomes } = await exchangeHl7(intake, frame(text));
    expect(outcomes).toHaveLength(1);
    expect(intake.received).toHaveLength(1);
    expect(intake.received[0]!.bytes).toHaveLength(text.length);
    expect(intake.received[0]!.fault).toEqual({ code: 'BATCH_TOO_LARGE', byteOffset: 10 * MOST_BATCH_MESSAGES });
    expect(msa(answer)).toEqual(['AR ']);
    expect(splitMessages(Buffer.from(text), { mostMessages: 3 })).toMatchObject({ cutAt: 30 });
    expect(splitMessages(Buffer.from('MSH|1\rMSH|2\r'), { mostMessages: 2 }).cutAt).toBeUndefined();
  });

  test('a large batch goes in in order, with a bounded number on the way', async () => {
    let open = 0;
    let most = 0;
    const order: string[] = [];
    const intake: Intake = {
      async receive({ bytes }) {
        order.push(readHl7(bytes).controlId);
        open += 1;
        most = Math.max(most, open);
        await new Promise(setImmediate);
        open -= 1;
        return { status: 'accepted', messageId: 'm', position: 1n, recordedAt: ACCEPTED.recordedAt, answer: 'AA' };
      },
    };
    const ids = Array.from({ length: 2000 }, (_, index) => `N${index}`);
    const { answer } = await exchangeHl7(intake, frame(ids.map((id) => message({ id })).join('')));
    expect(order).toEqual(ids);
    expect(msa(answer)).toEqual(ids.map((id) => `AA ${id}`));
    expect(most).toBeLessThanOrEqual(512);
  });
});
