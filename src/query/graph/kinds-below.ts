/** Which kinds of facts a question asks of a patient: they are read with the patient, in one statement. */
import { Kind, type GraphQLResolveInfo, type SelectionSetNode } from 'graphql';
import { FACT_KINDS, type FactKind } from '../../mapping/fact.js';
import { ALL_KINDS } from '../store/master-store.js';

/** Lists of a patient's facts without a filter of their own, by the field that they are asked for by. */
export const FACT_LISTS = {
  conditions: ['CONDITION'],
  allergies: ['ALLERGY_INTOLERANCE'],
  immunizations: ['IMMUNIZATION'],
  medications: ['MEDICATION_REQUEST', 'MEDICATION_DISPENSE', 'MEDICATION_ADMINISTRATION', 'MEDICATION_STATEMENT'],
  reports: ['DIAGNOSTIC_REPORT'],
  orders: ['SERVICE_REQUEST'],
  procedures: ['PROCEDURE'],
  specimens: ['SPECIMEN'],
  appointments: ['APPOINTMENT'],
  documents: ['DOCUMENT_REFERENCE'],
  coverages: ['COVERAGE'],
  accounts: ['ACCOUNT'],
  charges: ['CHARGE_ITEM'],
  relatedPersons: ['RELATED_PERSON'],
  familyHistory: ['FAMILY_MEMBER_HISTORY'],
} as const satisfies Readonly<Record<string, readonly FactKind[]>>;

const numbers = (kinds: readonly FactKind[]): readonly number[] => kinds.map((kind) => FACT_KINDS.indexOf(kind));

const KINDS: ReadonlyMap<string, readonly number[]> = new Map([
  ['encounters', numbers(['ENCOUNTER'])],
  ['observations', numbers(['OBSERVATION'])],
  ['timeline', ALL_KINDS],
  ...Object.entries(FACT_LISTS).map(([field, kinds]) => [field, numbers(kinds)] as const),
]);

/** Numbers of the kinds that the fields right below a patient list. A field that a directive leaves out counts too. */
export function kindsBelow({ fieldNodes, fragments }: GraphQLResolveInfo): number[] {
  const found = new Set<number>();
  const look = (selection: SelectionSetNode): void => {
    for (const node of selection.selections) {
      if (node.kind === Kind.FIELD) for (const kind of KINDS.get(node.name.value) ?? []) found.add(kind);
      else {
        const fragment = node.kind === Kind.INLINE_FRAGMENT ? node : fragments[node.name.value];
        if (fragment !== undefined) look(fragment.selectionSet);
      }
    }
  };
  for (const { selectionSet } of fieldNodes) if (selectionSet !== undefined) look(selectionSet);
  return [...found];
}
