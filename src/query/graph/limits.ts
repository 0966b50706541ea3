/** Depth and cost of a query, before it runs (API.md §2 and §3: depth 15; cost 100,000 nodes, `first` or 50 a level, edges and nodes counted once). */
import {
  getNamedType,
  isCompositeType,
  isListType,
  isNullableType,
  Kind,
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLCompositeType,
  type GraphQLField,
  type GraphQLOutputType,
  type GraphQLSchema,
  type OperationDefinitionNode,
  type SelectionSetNode,
} from 'graphql';
import { PAGE_DEFAULT } from '../connection.js';
import { GraphError } from '../errors.js';

export interface QueryLimits {
  readonly depth: number;
  /** Nodes. */
  readonly cost: number;
}

type Variables = Readonly<Record<string, unknown>>;

/** @throws GraphError QUERY_TOO_COMPLEX */
export function checkLimits(
  schema: GraphQLSchema,
  document: DocumentNode,
  operation: OperationDefinitionNode,
  variables: Variables,
  limits: QueryLimits,
): void {
  const fragments = new Map<string, FragmentDefinitionNode>();
  for (const definition of document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition);
  }
  const root = schema.getRootType(operation.operation);
  if (root === undefined || root === null) return;
  const cost = new Measure(schema, fragments, variables, limits).selection(operation.selectionSet, root, 0);
  if (cost > limits.cost) throw tooComplex(`the query may ask for more than ${limits.cost} nodes`, limits);
}

function tooComplex(message: string, limits: QueryLimits): GraphError {
  return new GraphError('QUERY_TOO_COMPLEX', message, { depthMost: limits.depth, costMost: limits.cost });
}

class Measure {
  constructor(
    private readonly schema: GraphQLSchema,
    private readonly fragments: ReadonlyMap<string, FragmentDefinitionNode>,
    private readonly variables: Variables,
    private readonly limits: QueryLimits,
  ) {}

  /** Nodes below a selection; fields that several fragments repeat count each time, which only overstates. */
  selection(selection: SelectionSetNode, type: GraphQLCompositeType, depth: number): number {
    let cost = 0;
    for (const [field, parent] of this.fieldsOf(selection, type)) cost += this.field(field, parent, depth + 1);
    return cost;
  }

  private *fieldsOf(
    selection: SelectionSetNode,
    type: GraphQLCompositeType,
  ): Iterable<[FieldNode, GraphQLCompositeType]> {
    for (const node of selection.selections) {
      if (node.kind === Kind.FIELD) yield [node, type];
      else {
        const fragment = node.kind === Kind.FRAGMENT_SPREAD ? this.fragments.get(node.name.value) : node;
        if (fragment === undefined) continue;
        const named =
          fragment.typeCondition === undefined ? type : this.schema.getType(fragment.typeCondition.name.value);
        if (named !== undefined && isCompositeType(named)) yield* this.fieldsOf(fragment.selectionSet, named);
      }
    }
  }

  private field(node: FieldNode, parent: GraphQLCompositeType, depth: number): number {
    if (depth > this.limits.depth) throw tooComplex(`the query is deeper than ${this.limits.depth}`, this.limits);
    const definition = fieldOf(parent, node.name.value);
    // Introspection is read from memory and asks for no nodes.
    if (definition === undefined || node.selectionSet === undefined) return 0;
    const type = getNamedType(definition.type);
    if (!isCompositeType(type)) return 0;
    const connection = type.name.endsWith('Connection');
    const each = connection
      ? this.page(node.selectionSet, type, depth)
      : this.selection(node.selectionSet, type, depth);
    const count = connection ? this.first(node) : isList(definition.type) ? LIST_LENGTH : 1;
    return count * (1 + each);
  }

  /** A connection's nodes, whether they are asked for through edges, nodes or both. */
  private page(selection: SelectionSetNode, type: GraphQLCompositeType, depth: number): number {
    let most = 0;
    for (const [field, parent] of this.fieldsOf(selection, type)) {
      const definition = fieldOf(parent, field.name.value);
      if (definition === undefined || field.selectionSet === undefined) continue;
      const inner = getNamedType(definition.type);
      if (!isCompositeType(inner)) continue;
      const name = field.name.value;
      if (depth + 1 > this.limits.depth) throw tooComplex(`the query is deeper than ${this.limits.depth}`, this.limits);
      if (name === 'pageInfo') continue;
      if (name === 'edges') {
        for (const [edgeField, edge] of this.fieldsOf(field.selectionSet, inner)) {
          const node = fieldOf(edge, edgeField.name.value);
          if (node === undefined || edgeField.selectionSet === undefined) continue;
          const nodeType = getNamedType(node.type);
          if (isCompositeType(nodeType))
            most = Math.max(most, this.selection(edgeField.selectionSet, nodeType, depth + 2));
        }
      } else most = Math.max(most, this.selection(field.selectionSet, inner, depth + 1));
    }
    return most;
  }

  private first(node: FieldNode): number {
    const argument = node.arguments?.find(({ name }) => name.value === 'first')?.value;
    const value =
      argument?.kind === Kind.INT
        ? Number(argument.value)
        : argument?.kind === Kind.VARIABLE
          ? this.variables[argument.name.value]
          : undefined;
    return typeof value === 'number' && value >= 0 ? value : PAGE_DEFAULT;
  }
}

/** Lists that are no connections are short: names, identifiers, changes of one version. */
const LIST_LENGTH = 1;

function isList(type: GraphQLOutputType): boolean {
  return isListType(isNullableType(type) ? type : (type as { ofType: GraphQLOutputType }).ofType);
}

function fieldOf(type: GraphQLCompositeType, name: string): GraphQLField<unknown, unknown> | undefined {
  return 'getFields' in type ? type.getFields()[name] : undefined;
}
