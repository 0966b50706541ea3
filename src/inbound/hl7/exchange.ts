/**
 * One exchange with a sender of HL7 v2: what came in one frame or request goes to the intake, message by message and in
 * order, and one answer comes back. Shared by every transport that speaks ER7.
 */
import { randomUUID } from 'node:crypto';
import type { Intake, IntakeOutcome, ReceivedMessage } from '../received.js';
import { now } from '../../time/clock.js';
import { answerWanted, buildAck, buildBatchAck, type Answer, type BatchAnswer } from './ack.js';
import { splitMessages, type BatchEnvelope } from './batch.js';
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

/** The code that a sender gets when nothing could be made durable: nothing is lost, since it sends again. */
export const LOG_UNAVAILABLE = 'LOG_UNAVAILABLE';

/**
 * Hands a frame to the intake. A batch (FHS, BHS) becomes one message each; a frame that the transport found broken stays
 * one, as it is. `intake.receive` is called in the order of the messages. Never rejects: a failure of the intake is an answer too.
 * @param handedOver called once the intake has been given the last message, for one message before this function returns:
 *   only then may the next frame of the same sender follow, or it would overtake
 */
export async function exchangeHl7(
  intake: Intake,
  frame: ReceivedMessage,
  handedOver: () => void = () => undefined,
): Promise<Hl7Exchange> {
  const options = readHl7Options(frame);
  const split = frame.fault === undefined ? splitMessages(frame.bytes, options) : undefined;
  const isBatch =
    split !== undefined && (split.batch !== undefined || split.messages.length > 1) && split.messages.length > 0;
  if (!isBatch) {
    const request = frame.bytes.length === 0 ? undefined : readHl7(frame.bytes, options);
    const message: ReceivedMessage =
      request !== undefined
        ? { ...frame, hl7: request }
        : frame.fault === undefined
          ? { ...frame, fault: { code: 'EMPTY_FRAME', byteOffset: 0 } }
          : frame;
    const received = receive(intake, message);
    handedOver();
    const [outcome, failure] = await received;
    const answer = answerOf(outcome);
    const silent = frame.source.honourNever && !answerWanted(request, answer.code);
    return {
      answer: silent ? undefined : buildAck(request, answer),
      outcomes: [outcome],
      failures: outcome === undefined ? [failure] : [],
    };
  }

  const outcomes = new Array<IntakeOutcome | undefined>(split.messages.length);
  const failures: unknown[] = [];
  let next = 0;
  // Each runner takes the next message only as it comes to it, so that calls are made in order whatever settles first.
  const run = async (): Promise<void> => {
    while (next < split.messages.length) {
      const index = next;
      next += 1;
      const received = receive(intake, { ...frame, bytes: split.messages[index]!.bytes });
      if (next === split.messages.length) handedOver();
      const [outcome, failure] = await received;
      outcomes[index] = outcome;
      if (outcome === undefined) failures.push(failure);
    }
  };
  await Promise.all(Array.from({ length: Math.min(MESSAGES_IN_FLIGHT, split.messages.length) }, run));
  const answers: BatchAnswer[] = [];
  split.messages.forEach(({ bytes, batch }, index) => {
    const request: Hl7Message = readHl7(bytes, options);
    const answer = answerOf(outcomes[index]);
    if (frame.source.honourNever && !answerWanted(request, answer.code)) return;
    answers.push(batch === undefined ? { request, answer } : { request, answer, batch });
  });
  const envelope: BatchEnvelope | undefined = split.batch;
  const answer = answers.length === 0 && frame.source.honourNever ? undefined : buildBatchAck(envelope, answers);
  return { answer, outcomes, failures };
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
  return problem === undefined ? { code, messageId, recordedAt } : { code, problem, messageId, recordedAt };
}
