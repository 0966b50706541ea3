import { expect, it } from '@jest/globals';
import { buildSchema, parse } from 'graphql';
import { forbiddenField } from '../../src/auth/graph-rules.js';
import type { AuthRole, Principal } from '../../src/auth/principal.js';
import { clinicalSchema } from '../../src/query/graph/graph.module.js';

const schema = buildSchema(clinicalSchema());
const who = (...roles: AuthRole[]): Principal => ({ name: 'p', roles: new Set(roles) });

it('one document is judged anew for everybody who asks it, in all its operations and fragments', () => {
  const document = parse(`query first { log { head } } query second { ...letters }
    fragment letters on Query { deadLetters { nodes { id patient { id } } } }`);
  for (const [principal, field] of [
    [who('clinician'), 'Query.deadLetters'],
    [who('auditor'), undefined],
    [who('engineer'), 'DeadLetter.patient'],
    [who('engineer', 'clinician'), undefined],
    [who('clinician'), 'Query.deadLetters'],
    [who(), 'Query.log'],
  ] as const)
    expect(forbiddenField(schema, document, principal)?.field).toBe(field);
});
