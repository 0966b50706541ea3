/** `anamnesis query … --at t`: puts a query at a point without the person having to write the argument. */
import { Kind, OperationTypeNode, parse, print, type ArgumentNode, type DocumentNode, type FieldNode } from 'graphql';
import { CliError, EXIT } from './cli-error.js';

/** Fields of `Snapshot` and `AnonymizedSnapshot`: a query that asks for them directly means `at { … }`. */
const SNAPSHOT_FIELDS = new Set([
  'basis',
  'node',
  'patient',
  'patientByIdentifier',
  'patients',
  'encounters',
  'search',
  'population',
  'subject',
  'subjects',
]);

/**
 * Puts the query at `point`: a date or instant is `knownAt`, a number a position, anything else a basis. Fields of a snapshot
 * on the top level are put inside `at`, also without a point.
 * @throws CliError where the query does not parse, or says `at` with arguments of its own beside `--at`
 */
export function placeQuery(query: string, point: string | undefined): string {
  let document: DocumentNode;
  try {
    document = parse(query);
  } catch (error) {
    throw new CliError(`the query does not parse: ${(error as Error).message}`, EXIT.usage, { cause: error });
  }
  const added = point === undefined ? [] : [argumentOf(point)];
  let placed = false;
  const definitions = document.definitions.map((definition) => {
    if (definition.kind !== Kind.OPERATION_DEFINITION || definition.operation !== OperationTypeNode.QUERY)
      return definition;
    const fields = definition.selectionSet.selections;
    const inside = fields.filter((field) => field.kind === Kind.FIELD && SNAPSHOT_FIELDS.has(field.name.value));
    const outside = fields
      .filter((field) => !inside.includes(field))
      .map((field) => {
        if (field.kind !== Kind.FIELD || field.name.value !== 'at') return field;
        placed = true;
        if (
          added.length > 0 &&
          (field.arguments ?? []).some(({ name }) => !['wait', 'candidate'].includes(name.value))
        ) {
          throw new CliError('the query says `at` with a point of its own: leave out --at', EXIT.usage);
        }
        return { ...field, arguments: [...(field.arguments ?? []), ...added] };
      });
    if (inside.length === 0)
      return { ...definition, selectionSet: { ...definition.selectionSet, selections: outside } };
    placed = true;
    const at: FieldNode = {
      kind: Kind.FIELD,
      name: { kind: Kind.NAME, value: 'at' },
      arguments: added,
      selectionSet: { kind: Kind.SELECTION_SET, selections: inside },
    };
    return { ...definition, selectionSet: { ...definition.selectionSet, selections: [...outside, at] } };
  });
  if (point !== undefined && !placed)
    throw new CliError('--at: the query asks for nothing that has a past', EXIT.usage);
  return print({ ...document, definitions });
}

function argumentOf(point: string): ArgumentNode {
  const name = /^\d{4}-\d\d/.test(point) ? 'knownAt' : /^\d+$/.test(point) ? 'position' : 'basis';
  return {
    kind: Kind.ARGUMENT,
    name: { kind: Kind.NAME, value: name },
    value: { kind: Kind.STRING, value: point },
  };
}
