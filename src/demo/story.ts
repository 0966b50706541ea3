/**
 * One patient's day, told beside the simulated hospital's: an admission, a laboratory result, a transfer, the correction of
 * that result, a change of name. The demo's questions are about her, since for her the right answers are known by heart.
 */

export const STORY = {
  authority: 'DEMO',
  identifier: '4711',
  family: 'Okafor',
  newFamily: 'Okafor-Bell',
  given: 'Adaeze',
  birthDate: '1984-02-29',
  wrongPotassium: '6.9',
  rightPotassium: '4.1',
  firstWard: '3W',
  secondWard: 'ICU',
  /** Control ids (MSH-10). */
  transfer: 'DEMO-0003',
  correction: 'DEMO-0004',
  rename: 'DEMO-0005',
} as const;

const OFFSET = '+0000';

/** The messages in order, as bytes. */
export function storyMessages(): Buffer[] {
  return [
    message('ADT^A01^ADT_A01', 'DEMO-0001', '20260302080000', [
      evn('A01', '20260302080000'),
      pid(STORY.family),
      pv1(STORY.firstWard, '20260302080000'),
    ]),
    message('ORU^R01^ORU_R01', 'DEMO-0002', '20260302091500', [
      pid(STORY.family),
      ...potassium(STORY.wrongPotassium, 'F', 'HH'),
    ]),
    message('ADT^A02^ADT_A02', STORY.transfer, '20260302093000', [
      evn('A02', '20260302093000'),
      pid(STORY.family),
      pv1(STORY.secondWard, '20260302080000'),
    ]),
    message('ORU^R01^ORU_R01', STORY.correction, '20260302101000', [
      pid(STORY.family),
      ...potassium(STORY.rightPotassium, 'C', ''),
    ]),
    message('ADT^A08^ADT_A01', STORY.rename, '20260302150000', [
      evn('A08', '20260302150000'),
      pid(STORY.newFamily),
      pv1(STORY.secondWard, '20260302080000'),
    ]),
  ];
}

function message(type: string, controlId: string, time: string, segments: readonly string[]): Buffer {
  const msh = `MSH|^~\\&|WARDS|DEMO|ANAMNESIS|HUB|${time}${OFFSET}||${type}|${controlId}|P|2.5.1|||||||UNICODE UTF-8`;
  return Buffer.from(`${[msh, ...segments].join('\r')}\r`, 'utf8');
}

function evn(event: string, time: string): string {
  return `EVN|${event}|${time}${OFFSET}||||${time}${OFFSET}`;
}

function pid(family: string): string {
  return `PID|1||${STORY.identifier}^^^${STORY.authority}^MR||${family}^${STORY.given}||19840229|F|||1 Harbour Road^^Galway^^02138^USA`;
}

function pv1(ward: string, admitted: string): string {
  const fields = ['PV1', '1', 'I', `${ward}^12^1^DEMO`];
  fields[19] = `V-${STORY.identifier}^^^${STORY.authority}^VN`;
  fields[44] = `${admitted}${OFFSET}`;
  return Array.from(fields, (field: string | undefined) => field ?? '').join('|');
}

/** The same order and the same observation both times, so the second is a correction of the first. */
function potassium(value: string, status: string, flag: string): string[] {
  const time = `20260302084500${OFFSET}`;
  return [
    `OBR|1|P-77^WARDS|F-77^LAB|2823-3^Potassium [Moles/volume] in Serum or Plasma^LN|||${time}|||||||||||||||20260302090000${OFFSET}|||${status}`,
    `OBX|1|NM|2823-3^Potassium [Moles/volume] in Serum or Plasma^LN||${value}|mmol/L|3.5-5.1|${flag}|||${status}|||${time}`,
  ];
}
