/**
 * Which roles may ask for which field of the clinical graph. A field that stands nowhere here is open to whoever may use the graph and came
 * to it through fields that do; a root field that stands nowhere is the engineer's and, to read, the auditor's.
 */
import type { ApolloServerPlugin } from '@apollo/server';
import { GraphQLError, TypeInfo, visit, visitWithTypeInfo, type DocumentNode, type GraphQLSchema } from 'graphql';
import { mayAct, type AuthRole, type Principal } from './principal.js';

const CHART: readonly AuthRole[] = ['auditor', 'clinician'];
const OPERATIONS: readonly AuthRole[] = ['auditor', 'engineer'];
const EVERYBODY: readonly AuthRole[] = ['auditor', 'clinician', 'engineer'];

export const FIELD_RULES: Readonly<Record<string, readonly AuthRole[]>> = {
  'Query.at': CHART,
  'Query.diff': CHART,
  // Whoever corrects a dead letter must see it.
  'Query.message': EVERYBODY,
  'Query.messages': EVERYBODY,
  'Query.log': EVERYBODY,
  'Query.projections': EVERYBODY,
  'Query.deadLetters': OPERATIONS,
  'Query.sources': OPERATIONS,
  'Query.reviews': CHART,
  // A chart names the source of each message; addresses and files are the engineer's.
  'Source.settings': OPERATIONS,
  'Source.ownSettings': OPERATIONS,
  'Source.differences': OPERATIONS,
  'Source.history': OPERATIONS,
  'Source.state': OPERATIONS,
  // From a message to the whole chart.
  'Message.patient': CHART,
  'Message.changes': CHART,
  'DeadLetter.patient': CHART,
  'Mutation.mergePatients': ['clinician'],
  'Mutation.unmergePatients': ['clinician'],
  'Subscription.patientChanged': CHART,
};

const ROOT_DEFAULTS: Readonly<Record<string, readonly AuthRole[]>> = {
  Query: OPERATIONS,
  Mutation: ['engineer'],
  Subscription: CHART,
};

/** Roles that a field asks for; undefined: none of its own. */
export function rolesForField(type: string, field: string): readonly AuthRole[] | undefined {
  if (field.startsWith('__')) return undefined;
  return FIELD_RULES[`${type}.${field}`] ?? ROOT_DEFAULTS[type];
}

/** A field that not everybody may ask for. */
interface GuardedField {
  readonly field: string;
  readonly roles: readonly AuthRole[];
}

/** What was found in a document of a schema: clients ask the same ones again and again. */
const guarded = new WeakMap<
  DocumentNode,
  { readonly schema: GraphQLSchema; readonly fields: readonly GuardedField[] }
>();

/** First field of a document, in any of its operations and fragments, that the principal may not ask for. */
export function forbiddenField(
  schema: GraphQLSchema,
  document: DocumentNode,
  principal: Principal,
): GuardedField | undefined {
  let known = guarded.get(document);
  if (known?.schema !== schema) {
    known = { schema, fields: guardedFields(schema, document) };
    guarded.set(document, known);
  }
  return known.fields.find(({ roles }) => !mayAct(principal, roles));
}

function guardedFields(schema: GraphQLSchema, document: DocumentNode): GuardedField[] {
  const types = new TypeInfo(schema);
  const found: GuardedField[] = [];
  visit(
    document,
    visitWithTypeInfo(types, {
      Field(node) {
        const parent = types.getParentType();
        if (parent === null || parent === undefined) return;
        const roles = rolesForField(parent.name, node.name.value);
        if (roles !== undefined) found.push({ field: `${parent.name}.${node.name.value}`, roles });
      },
    }),
  );
  return found;
}

/** Refuses a question as a whole where it asks for anything that its asker may not. */
export function graphRulesPlugin(): ApolloServerPlugin<{ readonly principal: Principal }> {
  return {
    async requestDidStart() {
      return {
        async didResolveOperation({ schema, document, contextValue }) {
          const forbidden = forbiddenField(schema, document, contextValue.principal);
          if (forbidden === undefined) return;
          throw new GraphQLError(`${forbidden.field} is for the roles ${forbidden.roles.join(', ')}`, {
            extensions: { code: 'FORBIDDEN', http: { status: 403 } },
          });
        },
      };
    },
  };
}
