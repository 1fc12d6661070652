// Asks a running Meterhouse as Grafana's data source, Prometheus' editor and prometheus-query do, for
// test_front_ends.py. Arguments: the API's URL, the end of the time range in Unix seconds. Prints JSON.
require('./grafana/load.js')
const path = require('path')
const { lastValueFrom } = require('rxjs')
const { dateTime } = require('@grafana/data')
const runtime = require('@grafana/runtime')
const cjs = path.join(path.dirname(require.resolve('@grafana/prometheus')))
const { PrometheusDatasource } = require(path.join(cjs, 'datasource.cjs'))

const [url, end] = [process.argv[2], Number(process.argv[3])]
const range = { from: dateTime((end - 1800) * 1000), to: dateTime(end * 1000) }
range.raw = { from: range.from, to: range.to }
const texts = (found) => found.map((one) => one.text).sort()

function frames (found) {
  return found.map((frame) => ({
    type: frame.meta?.type,
    fields: Object.fromEntries(frame.fields.map((field) => [field.name, Array.from(field.values)])),
    labels: frame.fields.map((field) => field.labels).find((labels) => labels !== undefined) ?? {}
  }))
}

async function grafana () {
  runtime.settings.url = url
  const source = new PrometheusDatasource({
    id: 1, uid: 'm', name: 'Meterhouse', type: 'prometheus', access: 'proxy', url, jsonData: {
      httpMethod: 'POST', timeInterval: '10s', prometheusType: 'Prometheus', prometheusVersion: '3.5.0'
    }
  }, runtime.getTemplateSrv())
  source.interval = '10s'
  const out = {}

  // Save & test, and the server's properties that Grafana's back end finds (promlib: healthcheck, heuristics).
  out.health = (await runtime.ask('POST', 'api/v1/query', { query: '1+1', time: 4 })).data
  out.buildinfo = (await runtime.ask('GET', 'api/v1/status/buildinfo')).data
  const ruler = ['api/v1/status/flags', 'config/v1/rules', 'api/v1/status/config/ruler']
  out.others = await Promise.all(ruler.map((one) => runtime.ask('GET', one).then(() => 200, (error) => error.status)))
  await source.init()
  await source.loadRules()
  out.exemplars = source.exemplarsAvailable
  await source.languageProvider.start(range)
  out.metrics = source.languageProvider.retrieveMetrics()
  out.histograms = source.languageProvider.retrieveHistogramMetrics()
  out.labels = source.languageProvider.retrieveLabelKeys()
  out.metadata = source.languageProvider.retrieveMetricsMetadata()

  const find = async (query) => texts(await source.metricFindQuery(query, { range }))
  const many = Array.from({ length: 600 }, (_, i) => `/api/route-${i}\\.x`)
  runtime.variables.set('route', { value: ['/cart', ...many], multi: true })
  out.variables = {
    names: await find('label_names()'),
    namesOf: await find('label_names(fe_requests)'),
    values: await find('label_values(fe_requests, route)'),
    filtered: await find('label_values(fe_requests{route="/cart"}, status)'),
    all: await find('label_values(route)'),
    long: await find('label_values(fe_requests{route=~"$route"}, status)'),
    metrics: await find('metrics(fe_.*)'),
    result: await find('query_result(sum by (route) (increase(fe_requests[30m])))'),
    selector: await find('fe_temperature')
  }

  const queries = [{ refId: 'A', expr: 'rate(fe_requests[5m])' }]
  const filters = [{ key: 'route', operator: '=', value: '/cart' }]
  out.adhoc = {
    keys: texts(await source.getTagKeys({ filters: [], queries, timeRange: range })),
    values: texts(await source.getTagValues({ key: 'status', filters, queries, timeRange: range })),
    oneOf: texts(await source.getTagValues({
      key: 'status', queries, timeRange: range,
      filters: [{ key: 'route', operator: '=|', value: '', values: ['/cart', '/home'] }]
    }))
  }

  const ask = async (target, more = {}) => {
    const request = {
      targets: [{ refId: 'A', ...target }], range, rangeRaw: range.raw, intervalMs: 60_000, interval: '1m',
      timezone: 'utc', panelId: 1, requestId: 'x', app: 'dashboard', scopedVars: {}, ...more
    }
    return frames((await lastValueFrom(source.query(request))).data)
  }
  const le = 'sum by (le) (increase(fe_latency_bucket[1m]))'
  out.queries = {
    range: await ask({ expr: 'sum by (route) (increase(fe_requests[$__rate_interval]))' }),
    filtered: await ask({ expr: 'increase(fe_requests[1m])' }, { filters }),
    variable: await ask({ expr: 'sum(increase(fe_requests{route=~"$route"}[30m]))', instant: true }),
    instant: await ask({ expr: 'sum(increase(fe_requests[30m]))', instant: true }),
    table: await ask({ expr: 'increase(fe_requests[30m])', instant: true, format: 'table' }),
    gauge: await ask({ expr: 'fe_temperature', instant: true }),
    set: await ask({ expr: 'sum(sum_over_time(fe_users[30m]))', instant: true }),
    native: await ask({ expr: 'increase(fe_latency[1m])' }),
    heatmap: await ask({ expr: le, format: 'heatmap', legendFormat: '{{le}}' }),
    quantile: await ask({ expr: 'histogram_quantile(0.5, sum by (le) (increase(fe_latency_bucket[30m])))', instant: true })
  }
  out.log = runtime.settings.log
  return out
}

async function editor () {
  const { HTTPPrometheusClient } = require('@prometheus-io/codemirror-promql/dist/cjs/client/prometheus')
  const { newCompleteStrategy } = require('@prometheus-io/codemirror-promql/dist/cjs/complete')
  const { LanguageType, promQLLanguage } = require('@prometheus-io/codemirror-promql')
  const { EditorState } = require('@codemirror/state')
  const { CompletionContext } = require('@codemirror/autocomplete')
  const { LanguageSupport, syntaxTree, ensureSyntaxTree } = require('@codemirror/language')
  const client = new HTTPPrometheusClient({ url, lookbackInterval: 12 * 3600 * 1000 })
  const strategy = newCompleteStrategy({ remote: client })
  // The text as the editor leaves it, with closing brackets and quotes; `|` is the cursor.
  const complete = async (written) => {
    const at = written.indexOf('|')
    const text = written.replace('|', '')
    const state = EditorState.create({ doc: text, extensions: new LanguageSupport(promQLLanguage(LanguageType.PromQL)) })
    ensureSyntaxTree(state, text.length, 5_000)
    if (syntaxTree(state).length !== text.length) throw new Error(`not parsed: ${text}`)
    const found = await strategy.promQL(new CompletionContext(state, at, true))
    return (found?.options ?? []).map((option) => option.label)
  }
  return {
    metricNames: await client.metricNames(),
    labelNames: await client.labelNames('fe_requests'),
    labelValues: await client.labelValues('route', 'fe_requests'),
    series: await client.series('fe_requests'),
    metadata: await client.metricMetadata(),
    flags: await client.flags(),
    completed: {
      metric: (await complete('fe_|')).filter((label) => label.startsWith('fe_')),
      label: await complete('fe_requests{|}'),
      value: await complete('fe_requests{route="|"}')
    }
  }
}

async function prometheusQuery () {
  const { PrometheusDriver } = require('prometheus-query')
  const client = new PrometheusDriver({ endpoint: url })
  const [from, to] = [(end - 1800) * 1000, end * 1000]
  const shown = ({ resultType, result }) => ({
    resultType,
    result: result.map((one) => ({
      labels: one.metric.labels, name: one.metric.name, values: (one.values ?? [one.value]).map((at) => at.value)
    }))
  })
  return {
    instant: shown(await client.instantQuery('sum by (route) (increase(fe_requests[30m]))', to)),
    range: shown(await client.rangeQuery('sum(increase(fe_requests[1m]))', from, to, 60)),
    classic: shown(await client.instantQuery('fe_latency_count', to)),
    series: (await client.series('fe_requests', from, to)).length,
    labelNames: await client.labelNames(),
    labelValues: await client.labelValues('route'),
    metadata: await client.metadata(),
    rules: await client.rules(),
    alerts: await client.alerts()
  }
}

async function main () {
  console.log = console.error // Grafana's packages log; the answer goes out alone
  const out = { grafana: await grafana(), editor: await editor(), prometheusQuery: await prometheusQuery() }
  process.stdout.write(JSON.stringify(out))
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1) })
