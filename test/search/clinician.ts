/** What clinicians ask, with whom and what they expect to see, the first first: a labelled set, and the patients that it is about. */
import { adt, person, type Message } from '../query/support.js';

export const PATIENTS = {
  bergstrom: person(),
  oneil: person(),
  nguyen: person(),
  garcia: person(),
  garciaTwice: person(),
  hassan: person(),
  vandenberg: person(),
  johnson: person(),
  johnsen: person(),
};
type Patient = keyof typeof PATIENTS;

/** Lines of a message with a PID of its own. */
function message(
  who: Patient,
  type: string,
  pid: string,
  rest: readonly string[],
  time = '20260310090000+0000',
): Message {
  const { record, patient, mrn } = PATIENTS[who];
  const content = [
    `MSH|^~\\&|CLINIC|MERCY|HUB|HUB|${time}||${type}|Q${mrn}-${rest.length}-${time}|P|2.5.1||||||UNICODE UTF-8`,
    ...(type.startsWith('ADT') ? [`EVN|${type.slice(4, 7)}|${time}||||${time}`] : []),
    `PID|1||${mrn}^^^MERCY^MR${pid}`,
    ...rest,
  ];
  return { content, record, patient };
}

/** @param pid as full as at registration: what a message says of a field is all that stands there then */
function results(who: Patient, pid: string, observations: readonly string[]): Message {
  const { mrn } = PATIENTS[who];
  return message(who, 'ORU^R01', pid, [
    `OBR|1|O${mrn}|F${mrn}|24323-8^Metabolic panel^LN|||20260310080000+0000`,
    ...observations.map((one, place) => `OBX|${place + 1}|${one}|||F|||20260310080000+0000`),
  ]);
}

/** Identifiers behind the first, and names: the second is that of before her marriage. */
const BERGSTROM = '~123-45-6789^^^SSA^SS||Bergström^Åsa^Linnea~Lindqvist^Åsa^^^^^M';

export const CLINIC: readonly Message[] = [
  message('bergstrom', 'ADT^A04', `${BERGSTROM}||19720918|F|||4 Elm Court^^Rockford^IL^61101||(815)867-5309`, [
    'DG1|1||I10^Essential (primary) hypertension^I10|||F',
  ]),
  message('oneil', 'ADT^A04', "||O'Neil^Siobhán||19911203|F|||||0044 20 7946 0958", [
    'DG1|1||J45.909^Unspecified asthma, uncomplicated^I10|||F',
  ]),
  message('nguyen', 'ADT^A04', '||Nguyễn^Văn An||19870105|M|||77 Lake Shore Drive^^Evanston^IL^60201', [
    'AL1|1|DA|7980^Penicillin G^RXNORM|SV|hives',
    'DG1|1||N39.0^Urinary tract infection, site not specified^I10|||F',
  ]),
  message('garcia', 'ADT^A01', '||García-López^María del Carmen||19660730|F', [
    `PV1|1|I|CCU^4^2${'|'.repeat(16)}V9001`,
    'DG1|1||I21.9^Acute myocardial infarction, unspecified^I10|||A',
  ]),
  message('garciaTwice', 'ADT^A04', '||Garzia^Carmencita||19660730|F', []),
  message('hassan', 'ADT^A04', '||حسن^محمد||19790221|M', []),
  message('vandenberg', 'ADT^A04', '||van den Berg^Willem||19450510|M', []),
  message('johnson', 'ADT^A04', '||Johnson^Erik||19700101|M', []),
  message('johnsen', 'ADT^A04', '||Johnsen^Erik||19700102|M', []),
  results('bergstrom', BERGSTROM, [
    'NM|3094-0^Urea nitrogen^LN||31|mg/dL',
    'NM|4548-4^Hemoglobin A1c^LN||9.2|%',
    'NM|1988-5^C reactive protein^LN||88|mg/L',
  ]),
  results('oneil', "||O'Neil^Siobhán", [
    'NM|2345-7^Glucose^LN||62|mg/dL',
    'ST|600-7^Blood culture^LN||Staphylococcus aureus',
  ]),
  results('garcia', '||García-López^María del Carmen', [
    'NM|2160-0^Creatinine^LN||2.4|mg/dL',
    'NM|6598-7^Troponin T cardiac^LN||1.35|ng/mL',
    'NM|1988-5^C reactive protein^LN||12|mg/L',
  ]),
  message('hassan', 'MDM^T02', '||حسن^محمد', [
    'TXA|1|DS|TX|20260310||||||||DOC-HASSAN-1||||||AU',
    'OBX|1|TX|18842-5^Discharge summary^LN||No evidence of pulmonary embolism. Follow up in six weeks.||||||F',
  ]),
];

/** The two are found to be one; then she is married. */
export const LATER: readonly Message[] = [
  {
    ...message('garcia', 'ADT^A40', '||García-López^María del Carmen||19660730|F', [
      `MRG|${PATIENTS.garciaTwice.mrn}^^^MERCY^MR`,
    ]),
    links: [{ sourceRecordId: PATIENTS.garciaTwice.record, patientId: PATIENTS.garcia.patient, reason: 'merge' }],
  },
  {
    content: adt({
      trigger: 'A08',
      mrn: PATIENTS.oneil.mrn,
      at: '2026-03-11T08:00:00Z',
      name: 'Featherstone^Siobhán',
      birthDate: '19911203',
      sex: 'F',
    }),
    record: PATIENTS.oneil.record,
    patient: PATIENTS.oneil.patient,
  },
];

/**
 * Typed, and what comes: the hits that must stand first, in this order; none at all where the list is empty. `before`: asked as of the state before
 * {@link LATER}.
 */
export const QUESTIONS: readonly {
  readonly text: string;
  readonly first: readonly string[];
  readonly only?: boolean;
  readonly before?: boolean;
}[] = [
  // Names: as they are, by their beginnings, reversed, of before marriage, without accents, as they sound, with slips.
  { text: 'Bergström', first: ['bergstrom'] },
  { text: 'bergstrom asa', first: ['bergstrom'] },
  { text: 'Asa Bergstrom', first: ['bergstrom'] },
  { text: 'Bergstroem', first: ['bergstrom'] },
  { text: 'bergs as', first: ['bergstrom'] },
  { text: 'Lindqvist', first: ['bergstrom'] },
  { text: 'lindquist asa', first: ['bergstrom'] },
  { text: 'begrstrom', first: ['bergstrom'] },
  { text: 'Bergstrom, Asa', first: ['bergstrom'] },
  { text: 'BERGSTROM^ASA', first: ['bergstrom'] },
  { text: "o'neil", first: ['oneil'], before: true },
  { text: 'oneil siobhan', first: ['oneil'], before: true },
  { text: 'O Neil', first: ['oneil'], before: true },
  { text: 'siobhan o neil', first: ['oneil'], before: true },
  { text: 'oneill', first: ['oneil'], before: true },
  { text: 'nguyen', first: ['nguyen'] },
  { text: 'Nguyen Van An', first: ['nguyen'] },
  { text: 'ngyuen', first: ['nguyen'] },
  { text: 'garcia lopez', first: ['garcia'] },
  { text: 'garcialopez maria', first: ['garcia'] },
  { text: 'maria del carmen', first: ['garcia'] },
  { text: 'Lopez Maria', first: ['garcia'] },
  { text: 'محمد حسن', first: ['hassan'] },
  { text: 'van den berg', first: ['vandenberg'] },
  { text: 'vandenberg willem', first: ['vandenberg'] },
  { text: 'Berg Willem', first: ['vandenberg'] },
  // Of two that are near, the exact one first.
  { text: 'johnson erik', first: ['johnson', 'johnsen'] },
  { text: 'johnsen erik', first: ['johnsen', 'johnson'] },
  { text: 'name:johnsen', first: ['johnsen'] },
  // Born, and by what is on a form.
  { text: '1972-09-18', first: ['bergstrom'] },
  { text: 'bergstrom 18.9.1972', first: ['bergstrom'] },
  { text: 'bergstrom 9/18/72', first: ['bergstrom'] },
  { text: 'Sept 18, 1972', first: ['bergstrom'] },
  { text: 'dob:1972 bergstrom', first: ['bergstrom'] },
  { text: 'erik born 1970-01-02', first: ['johnsen'], only: true },
  { text: 'nguyen 1986', first: [], only: true },
  { text: '123-45-6789', first: ['bergstrom'] },
  { text: 'SSA 123456789', first: ['bergstrom'] },
  { text: 'ssn:123-45-6789', first: ['bergstrom'] },
  { text: 'SSN 123-45-6789', first: ['bergstrom'] },
  { text: 'bergstrom dob 18 Sept 1972', first: ['bergstrom'], only: true },
  { text: 'nguyen AND penicillin kind:allergy', first: ['nguyen ALLERGY_INTOLERANCE'], only: true },
  { text: '815 867 5309', first: ['bergstrom'] },
  { text: '+44 20 7946 0958', first: ['oneil'], before: true },
  { text: '4 elm court', first: ['bergstrom'] },
  { text: 'lake shore evanston', first: ['nguyen'] },
  { text: 'rockford 61101', first: ['bergstrom'] },
  // What they have, in words of the ward.
  { text: 'a1c > 9', first: ['bergstrom OBSERVATION Hemoglobin A1c 9.2'], only: true },
  { text: 'hba1c', first: ['bergstrom OBSERVATION Hemoglobin A1c 9.2'] },
  { text: 'crp >= 50', first: ['bergstrom OBSERVATION C reactive protein 88'], only: true },
  { text: 'crp > 100', first: [], only: true },
  { text: 'blood sugar < 70', first: ['oneil OBSERVATION Glucose 62'], only: true },
  { text: 'kreatinin garcia', first: ['garcia OBSERVATION Creatinine 2.4'], only: true },
  { text: 'LOINC 6598-7', first: ['garcia OBSERVATION Troponin T cardiac 1.35'], only: true },
  { text: 'troponin > 1', first: ['garcia OBSERVATION Troponin T cardiac 1.35'], only: true },
  { text: 'staph aureus', first: ['oneil OBSERVATION Blood culture "Staphylococcus aureus"'], only: true },
  { text: 'heart attack', first: ['garcia CONDITION Acute myocardial infarction, unspecified'] },
  { text: 'high blood pressure', first: ['bergstrom CONDITION Essential (primary) hypertension'] },
  { text: 'uti nguyen', first: ['nguyen CONDITION Urinary tract infection, site not specified'] },
  { text: 'I21', first: ['garcia CONDITION Acute myocardial infarction, unspecified'] },
  { text: 'penicillin', first: ['nguyen ALLERGY_INTOLERANCE'] },
  { text: 'kind:allergy nguyen', first: ['nguyen ALLERGY_INTOLERANCE'], only: true },
  { text: 'kind:allergy nguyen penicillin', first: ['nguyen ALLERGY_INTOLERANCE'], only: true },
  { text: '"pulmonary embolism"', first: ['hassan'] },
  { text: '"pulmonary infarction"', first: [], only: true },
  { text: 'crp bergstrom from:2026-03-11', first: [], only: true },
  { text: 'crp bergstrom since 2026-03-10', first: ['bergstrom OBSERVATION C reactive protein 88'], only: true },
  { text: 'garcia at:ccu', first: ['garcia'] },
  // Then and now.
  { text: 'featherstone', first: ['oneil'] },
  { text: 'featherstone', first: [], only: true, before: true },
  { text: 'garzia carmencita', first: ['garcia'] },
  { text: 'garzia carmencita', first: ['garciaTwice'], before: true },
  // Nobody, and what is no question.
  { text: 'xqzwv', first: [], only: true },
  { text: '', first: [], only: true },
  { text: '%_*?~^"', first: [], only: true },
  { text: "'; drop table search.document_v1; --", first: [], only: true },
  { text: '<script>alert(1)</script>', first: [], only: true },
  { text: '((((((&&&|||!!!:*', first: [], only: true },
];
