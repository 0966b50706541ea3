/**
 * One exchange with a sender of HL7 v2: what came in one frame or request goes to the intake, message by message and in
 * order, and one answer comes back. Shared by every transport that speaks ER7.
 */
import { randomUUID } from 'node:crypto';
import type { Intake, IntakeOutcome, ReceivedMessage } from '../received.js';
import { now } from '../../time/clock.js';
import type { SourceConfiguration } from '../source.js';
import { ackPolicy, answerWanted, buildAck, buildBatchAck, type Answer, type BatchAnswer } from './ack.js';
import { splitMessages, type SplitBatch } from './batch.js';
import type { Hl7Message } from './message.js';
import { readHl7, readHl7Options } from './reader.js';

export interface Hl7Exchange {
  /** The answer as one frame's content; undefined only where the source obeys the sender's wish for silence (`honourNever`). */
  readonly answer: Buffer | undefined;
  /** What became of each message, in order; undefined for one that could not be stored: it was answered AE (or CE) and must come again. */
  readonly outcomes: readonly (IntakeOutcome | undefined)[];
  /** The reasons of those that could not be stored. */
  readonly failures: readonly unknown[];
}

/** So many messages of one batch are on their way into the log at a time. */
const MESSAGES_IN_FLIGHT = 512;

/** A frame that holds more is no batch that could be answered in one frame: it is kept as one message, parked as BATCH_TOO_LARGE. */
export const MOST_BATCH_MESSAGES = 100_000;

/** The code that a sender gets when nothing could be made durable: nothing is lost, since it sends again. */
export const LOG_UNAVAILABLE = 'LOG_UNAVAILABLE';

/**
 * Hands a frame to the intake. A batch (FHS, BHS) becomes one message each; a frame that the transport found broken stays
 * one, as it is. `intake.receive` is called in the order of the messages. Never rejects: a failure of the intake is an answer too.
 * @param handedOver called once the intake has been given the last message, for one message before this function returns:
 *   only then may the next frame of the same sender follow, or it would overtake
 */
export function exchangeHl7(
  intake: Intake,
  frame: ReceivedMessage,
  handedOver: () => void = () => undefined,
): Promise<Hl7Exchange> {
  const options = readHl7Options(frame);
  const split =
    frame.fault === undefined
      ? splitMessages(frame.bytes, {
          ...options,
          mostMessages: MOST_BATCH_MESSAGES,
          blocks: frame.transport !== 'mllp',
        })
      : undefined;
  if (split === undefined || split.cutAt !== undefined || split.messages.length === 0) {
    return exchangeOne(intake, frame, split?.cutAt, handedOver);
  }
  if (split.batch === undefined && split.messages.length === 1) {
    return exchangeOne(intake, frame, undefined, handedOver);
  }
  return exchangeBatch(intake, frame, split, handedOver);
}

async function exchangeOne(
  intake: Intake,
  frame: ReceivedMessage,
  cutAt: number | undefined,
  handedOver: () => void,
): Promise<Hl7Exchange> {
  const { bytes, source } = frame;
  const request = bytes.length === 0 ? undefined : readHl7(bytes, readHl7Options(frame));
  const received = receive(intake, { ...frame, hl7: request, fault: faultOf(frame, cutAt) });
  handedOver();
  const [outcome, failure] = await received;
  return {
    answer: answerTo(request, answerOf(outcome), source),
    outcomes: [outcome],
    failures: outcome === undefined ? [failure] : [],
  };
}

async function exchangeBatch(
  intake: Intake,
  frame: ReceivedMessage,
  split: SplitBatch,
  handedOver: () => void,
): Promise<Hl7Exchange> {
  const options = readHl7Options(frame);
  const { messages } = split;
  const outcomes = new Array<IntakeOutcome | undefined>(messages.length);
  const answers = new Array<BatchAnswer | undefined>(messages.length);
  const failures: unknown[] = [];
  let next = 0;
  // Each runner takes the next message only as it comes to it, so that calls are made in order whatever settles first.
  const run = async (): Promise<void> => {
    while (next < messages.length) {
      const index = next;
      next += 1;
      const { bytes, batch } = messages[index]!;
      const request = readHl7(bytes, options);
      const received = receive(intake, { ...frame, bytes, hl7: request });
      if (next === messages.length) handedOver();
      const [outcome, failure] = await received;
      outcomes[index] = outcome;
      if (outcome === undefined) failures.push(failure);
      const answer = answerOf(outcome);
      const built = answerTo(request, answer, frame.source);
      const { messageId, recordedAt } = answer;
      if (built !== undefined) {
        answers[index] = { bytes: built, messageId, recordedAt, ...(batch === undefined ? {} : { batch }) };
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(MESSAGES_IN_FLIGHT, messages.length) }, run));
  const wanted = answers.filter((answer) => answer !== undefined);
  const silent = wanted.length === 0 && frame.source.honourNever;
  return { answer: silent ? undefined : buildBatchAck(split.batch, wanted), outcomes, failures };
}

/** Undefined where the source obeys the sender's wish for silence. */
function answerTo(request: Hl7Message | undefined, answer: Answer, source: SourceConfiguration): Buffer | undefined {
  const policy = ackPolicy(source);
  if (source.honourNever && !answerWanted(request, answer.code, policy)) return undefined;
  return buildAck(request, answer, policy);
}

function faultOf(frame: ReceivedMessage, cutAt: number | undefined): ReceivedMessage['fault'] {
  if (frame.fault !== undefined) return frame.fault;
  if (cutAt !== undefined) return { code: 'BATCH_TOO_LARGE', byteOffset: cutAt };
  return frame.bytes.length === 0 ? { code: 'EMPTY_FRAME', byteOffset: 0 } : undefined;
}

async function receive(intake: Intake, message: ReceivedMessage): Promise<[IntakeOutcome | undefined, unknown]> {
  try {
    return [await intake.receive(message), undefined];
  } catch (error) {
    return [undefined, error];
  }
}

function answerOf(outcome: IntakeOutcome | undefined): Answer {
  if (outcome === undefined) {
    return { code: 'AE', problem: { code: LOG_UNAVAILABLE }, messageId: randomUUID(), recordedAt: now() };
  }
  const { answer: code, messageId, recordedAt, problem } = outcome;
  return { code, problem, messageId, recordedAt };
}
