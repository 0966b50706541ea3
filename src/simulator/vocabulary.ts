/** What is measured, found and given in the simulated hospital: LOINC, ICD-10-CM, RxNorm and CVX codes. */

export interface Measure {
  readonly code: string;
  readonly display: string;
  readonly unit: string;
  readonly low: number;
  readonly high: number;
  readonly decimals: number;
}

const measure = (
  code: string,
  display: string,
  unit: string,
  low: number,
  high: number,
  decimals: number,
): Measure => ({
  code,
  display,
  unit,
  low,
  high,
  decimals,
});

export const VITALS: readonly Measure[] = [
  measure('8867-4', 'Heart rate', '/min', 60, 100, 0),
  measure('8480-6', 'Systolic blood pressure', 'mm[Hg]', 100, 140, 0),
  measure('8462-4', 'Diastolic blood pressure', 'mm[Hg]', 60, 90, 0),
  measure('8310-5', 'Body temperature', 'Cel', 36.1, 37.5, 1),
  measure('9279-1', 'Respiratory rate', '/min', 12, 20, 0),
  measure('59408-5', 'Oxygen saturation in Arterial blood by Pulse oximetry', '%', 94, 100, 0),
];

export interface Panel {
  readonly code: string;
  readonly display: string;
  readonly measures: readonly Measure[];
}

export const PANELS: readonly Panel[] = [
  {
    code: '24323-8',
    display: 'Comprehensive metabolic 2000 panel - Serum or Plasma',
    measures: [
      measure('2823-3', 'Potassium [Moles/volume] in Serum or Plasma', 'mmol/L', 3.5, 5.1, 1),
      measure('2951-2', 'Sodium [Moles/volume] in Serum or Plasma', 'mmol/L', 136, 145, 0),
      measure('2160-0', 'Creatinine [Mass/volume] in Serum or Plasma', 'mg/dL', 0.6, 1.3, 2),
      measure('2345-7', 'Glucose [Mass/volume] in Serum or Plasma', 'mg/dL', 70, 110, 0),
    ],
  },
  {
    code: '58410-2',
    display: 'CBC panel - Blood by Automated count',
    measures: [
      measure('718-7', 'Hemoglobin [Mass/volume] in Blood', 'g/dL', 12, 17.5, 1),
      measure('6690-2', 'Leukocytes [#/volume] in Blood by Automated count', '10*3/uL', 4.5, 11, 1),
      measure('777-3', 'Platelets [#/volume] in Blood by Automated count', '10*3/uL', 150, 450, 0),
    ],
  },
  {
    code: '67151-1',
    display: 'Troponin T.cardiac [Mass/volume] in Serum or Plasma by High sensitivity method',
    measures: [
      measure(
        '67151-1',
        'Troponin T.cardiac [Mass/volume] in Serum or Plasma by High sensitivity method',
        'ng/L',
        0,
        14,
        0,
      ),
    ],
  },
];

export const DIAGNOSES: readonly (readonly [code: string, display: string])[] = [
  ['I10', 'Essential (primary) hypertension'],
  ['E11.9', 'Type 2 diabetes mellitus without complications'],
  ['J18.9', 'Pneumonia, unspecified organism'],
  ['I50.9', 'Heart failure, unspecified'],
  ['K35.80', 'Unspecified acute appendicitis'],
  ['S72.001A', 'Fracture of unspecified part of neck of right femur, initial encounter'],
  ['N39.0', 'Urinary tract infection, site not specified'],
  ['O80', 'Encounter for full-term uncomplicated delivery'],
  ['F32.9', 'Major depressive disorder, single episode, unspecified'],
  ['J45.909', 'Unspecified asthma, uncomplicated'],
];

/** AL1-2 type, RxNorm or SNOMED CT code, display, system, reaction. */
export const ALLERGIES: readonly (readonly [
  type: string,
  code: string,
  display: string,
  system: string,
  reaction: string,
])[] = [
  ['DA', '7980', 'penicillin G', 'RXNORM', 'Hives'],
  ['DA', '2670', 'codeine', 'RXNORM', 'Nausea'],
  ['FA', '91935009', 'Allergy to peanut', 'SCT', 'Anaphylaxis'],
  ['EA', '300916003', 'Latex allergy', 'SCT', 'Rash'],
];

export const VACCINES: readonly (readonly [cvx: string, display: string])[] = [
  ['140', 'Influenza, split virus, trivalent, PF'],
  ['115', 'Tdap'],
  ['133', 'Pneumococcal conjugate PCV 13'],
  ['03', 'MMR'],
  ['213', 'COVID-19, unspecified'],
];

export const WARDS = ['3W', '4E', '5N', '6S', 'ICU', 'CCU', 'MAT', 'PED'] as const;

/** Words of notes: they make a message long, and compress as notes do. */
export const NOTE_WORDS =
  'patient resting comfortably overnight denies chest pain shortness of breath vital signs stable afebrile lungs clear to auscultation abdomen soft non tender plan continue current medication follow up in clinic discussed with family wound clean dry intact ambulating with assistance'.split(
    ' ',
  );
