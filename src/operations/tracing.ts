/**
 * OpenTelemetry spans that join a message to its rows. Only the API is here: without an SDK, which who runs the hub loads (docs/operations.md),
 * nothing is recorded and nothing is spent. A message's trace id is its event id, which every process knows and which says nothing of anybody, so
 * that the span of its append and those of its projections meet in one trace without anything being handed on.
 */
import { diag, ROOT_CONTEXT, SpanKind, trace, TraceFlags, type Attributes, type Context } from '@opentelemetry/api';

const TRACER = 'anamnesis';

/** Names, numbers and codes only, as in logs. */
export interface TracedWork {
  readonly name: string;
  /** Milliseconds since 1970. */
  readonly started: number;
  readonly ended: number;
  readonly kind?: 'consumer';
  readonly attributes?: Attributes;
}

/** The trace of a message: a parent that was never sent, with the event id as trace id and its first half as span id. */
export function traceOf(messageId: string): Context {
  const traceId = messageId.replaceAll('-', '');
  return trace.setSpanContext(ROOT_CONTEXT, {
    traceId,
    spanId: traceId.slice(0, 16),
    traceFlags: TraceFlags.SAMPLED,
    isRemote: true,
  });
}

/**
 * A span for what was done with several messages at once, and in the trace of each message one that is linked to it. What an SDK throws costs no
 * message: it is told to OpenTelemetry's own log.
 */
export function traceMessages(work: TracedWork, messageIds: () => Iterable<string>): void {
  try {
    makeSpans(work, messageIds);
  } catch (error) {
    diag.error('a span could not be made', error);
  }
}

function makeSpans(work: TracedWork, messageIds: () => Iterable<string>): void {
  const tracer = trace.getTracer(TRACER);
  const kind = work.kind === 'consumer' ? SpanKind.CONSUMER : SpanKind.INTERNAL;
  const { name, started, ended, attributes = {} } = work;
  const batch = tracer.startSpan(`${name} batch`, { kind, startTime: started, attributes });
  if (!batch.isRecording()) return;
  const links = [{ context: batch.spanContext() }];
  for (const id of messageIds()) {
    tracer.startSpan(name, { kind, startTime: started, attributes, links }, traceOf(id)).end(ended);
  }
  batch.end(ended);
}
