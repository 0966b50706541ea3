import type { CrashMessage, SenderContext } from './http-senders.js';

/** A result about one of the run's patients, as HL7 v2. */
export function hl7Result(
  { seed, sender }: Pick<SenderContext, 'seed' | 'sender'>,
  count: number,
  {
    patient,
    at,
    acknowledgment = '',
  }: { readonly patient: number; readonly at: string; readonly acknowledgment?: string },
): CrashMessage {
  const order = `O${seed}-${sender}-${count}`;
  const text = [
    `MSH|^~\\&|CRASH|WARD|HUB|HUB|${at}||ORU^R01|C${seed}-${sender}-${count}|P|2.5.1${acknowledgment}`,
    `PID|1||P${seed}-${patient}^^^CRASH^MR||Kill${patient}^Test||19700${1 + (patient % 9)}1${patient % 10}|F`,
    `OBR|1||${order}|K^Potassium^L|||${at}`,
    `OBX|1|NM|K^Potassium^L||${(3 + (count % 30) / 10).toFixed(1)}|mmol/L|||||F|||${at}`,
    '',
  ].join('\r');
  return { bytes: Buffer.from(text, 'utf8'), patient, order };
}
