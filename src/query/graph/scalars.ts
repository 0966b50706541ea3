/** Scalars of the clinical graph. */
import { GraphQLScalarType, Kind, valueFromASTUntyped } from 'graphql';
import { parseInstant } from '../basis/instant.js';
import { GraphError } from '../errors.js';

function badInput(what: string): GraphError {
  return new GraphError('BAD_USER_INPUT', what);
}

function readDateTime(value: unknown): string {
  const instant = typeof value === 'string' ? parseInstant(value) : undefined;
  if (instant === undefined) throw badInput('a DateTime is an RFC 3339 date-time with an offset');
  return instant;
}

export const DateTimeScalar = new GraphQLScalarType({
  name: 'DateTime',
  description: 'RFC 3339, up to microseconds; any offset in, Z out.',
  parseValue: readDateTime,
  parseLiteral: (node) => readDateTime(node.kind === Kind.STRING ? node.value : undefined),
  serialize: (value) => value,
});

export const PartialDateTimeScalar = new GraphQLScalarType({
  name: 'PartialDateTime',
  description:
    'As precise as it was sent, never more: 2026, 2026-03, 2026-03-01, 2026-03-01T10, …T10:15, …T10:15:30.1234, with the offset if there was one.',
  serialize: (value) => value,
});

function readPosition(value: unknown): string {
  const text = typeof value === 'number' && Number.isSafeInteger(value) ? String(value) : value;
  if (typeof text !== 'string' || !/^\d{1,19}$/.test(text)) throw badInput('a Position is a decimal string');
  return text;
}

export const PositionScalar = new GraphQLScalarType({
  name: 'Position',
  description: 'A 64-bit integer of the log, as a string. Opaque, totally ordered.',
  parseValue: readPosition,
  parseLiteral: (node) => readPosition(node.kind === Kind.STRING || node.kind === Kind.INT ? node.value : undefined),
  serialize: (value) => String(value),
});

export const FhirResourceScalar = new GraphQLScalarType({
  name: 'FhirResource',
  description:
    "FHIR R4 JSON. A time that FHIR cannot express as sent is filled up in the source's zone, with the original in an extension.",
  serialize: (value) => value,
});

export const JsonScalar = new GraphQLScalarType({
  name: 'JSON',
  description: 'Any JSON value.',
  serialize: (value) => value,
  parseValue: (value) => value,
  parseLiteral: (node, variables) => valueFromASTUntyped(node, variables),
});
