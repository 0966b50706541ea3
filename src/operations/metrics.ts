/** Prometheus metrics. Each process has one registry; the supervisor collects them all, told apart by the label `role`. */
import { AggregatorRegistry, collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

/** Of this process. Names start with `anamnesis_`; labels come from closed sets, never from what a sender chose. */
export const registry = new Registry();

/** Content type of the text format. */
export const METRICS_CONTENT_TYPE = Registry.PROMETHEUS_CONTENT_TYPE;

/** Labels every metric of this process and adds Node's own (memory, event loop, garbage collection). */
export function startMetrics(role: string): void {
  registry.setDefaultLabels({ role });
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 50 });
}

/** A counter of this process; the same one for the same name. */
export function counter(name: string, help: string, labelNames: readonly string[] = []): Counter {
  return existing(name, Counter) ?? new Counter({ name, help, labelNames: [...labelNames], registers: [registry] });
}

export function gauge(name: string, help: string, labelNames: readonly string[] = []): Gauge {
  return existing(name, Gauge) ?? new Gauge({ name, help, labelNames: [...labelNames], registers: [registry] });
}

/** A histogram; `buckets` in the unit that the name ends with. */
export function histogram(
  name: string,
  help: string,
  buckets: readonly number[],
  labelNames: readonly string[] = [],
): Histogram {
  return (
    existing(name, Histogram) ??
    new Histogram({ name, help, buckets: [...buckets], labelNames: [...labelNames], registers: [registry] })
  );
}

function existing<T>(name: string, kind: new (...args: never[]) => T): T | undefined {
  const metric: unknown = registry.getSingleMetric(name);
  return metric instanceof kind ? metric : undefined;
}

/** Metrics of this process, for the supervisor. */
export async function collectMetrics(): Promise<object[]> {
  return registry.getMetricsAsJSON();
}

/** One text of many processes' metrics. Their labels differ in `role`, so nothing is added up. */
export async function mergeMetrics(processes: readonly (readonly object[])[]): Promise<string> {
  const summing = processes.map((metrics) => metrics.map((metric) => ({ ...metric, aggregator: 'sum' })));
  return AggregatorRegistry.aggregate(summing).metrics();
}
