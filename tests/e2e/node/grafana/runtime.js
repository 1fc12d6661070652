// @grafana/runtime for a data source, over real HTTP. The requests and frames are those that Grafana's
// Go back end makes (pkg/promlib: querydata, converter, healthcheck).
const { DataSourceApi, FieldType, toDataFrame, rangeUtil } = require('@grafana/data')
const { from } = require('rxjs')

const settings = { url: '', log: [] }

class FetchError extends Error {
  constructor (status, data) {
    super(`${status}: ${JSON.stringify(data)}`)
    this.status = status
    this.data = data
  }
}

async function ask (method, path, parameters = {}) {
  const form = new URLSearchParams()
  for (const [name, value] of Object.entries(parameters)) {
    if (value === undefined || value === null) continue
    for (const one of Array.isArray(value) ? value : [value]) form.append(name, String(one))
  }
  const url = `${settings.url}/${path}`
  const response = method === 'GET'
    ? await fetch(form.size === 0 || `${form}` === '' ? url : `${url}?${form}`)
    : await fetch(url, { method, body: form })
  const text = await response.text()
  settings.log.push(`${method} ${path} ${response.status}`)
  let body = text
  try { body = JSON.parse(text) } catch { /* 404 is text */ }
  if (!response.ok) throw new FetchError(response.status, body)
  return body
}

const numbers = (pairs) => pairs.map(([, value]) => Number(value.replace('Inf', 'Infinity')))

function seriesFrame (refId, kind, series) {
  const labels = { ...series.metric }
  const samples = series.values ?? [series.value]
  const name = labels.__name__ ?? 'Value'
  return toDataFrame({
    refId,
    meta: { type: 'timeseries-multi', custom: { resultType: kind } },
    fields: [
      { name: 'Time', type: FieldType.time, values: samples.map(([time]) => time * 1000) },
      { name, type: FieldType.number, labels, values: numbers(samples) }
    ]
  })
}

function histogramFrame (refId, series) {
  const samples = series.histograms ?? [series.histogram]
  const cells = samples.flatMap(([time, h]) => (h.buckets ?? []).map((bucket) => [time * 1000, ...bucket]))
  const column = (name, type, at) => ({ name, type, values: cells.map((cell) => Number(cell[at])) })
  return toDataFrame({
    refId,
    meta: { type: 'heatmap-cells', custom: { resultType: 'histogram', counts: samples.map(([, h]) => h.count) } },
    fields: [
      column('xMax', FieldType.time, 0), column('yLayout', FieldType.number, 1), column('yMin', FieldType.number, 2),
      column('yMax', FieldType.number, 3), { ...column('count', FieldType.number, 4), labels: series.metric }
    ]
  })
}

function framesOf (refId, { resultType, result }) {
  if (resultType === 'scalar' || resultType === 'string') {
    return [seriesFrame(refId, resultType, { metric: {}, value: result })]
  }
  return result.map((series) => (series.histograms ?? series.histogram)
    ? histogramFrame(refId, series)
    : seriesFrame(refId, resultType, series))
}

class DataSourceWithBackend extends DataSourceApi {
  getResource (path, data) { return ask('GET', path, data) }
  postResource (path, data) { return ask('POST', path, data) }

  query (request) {
    return from((async () => {
      const data = []
      for (const target of request.targets) {
        if (this.filterQuery && !this.filterQuery(target)) continue
        const asked = this.applyTemplateVariables(target, request.scopedVars ?? {}, request.filters)
        data.push(...await this.#target(asked, request))
      }
      return { data, state: 'Done' }
    })())
  }

  async #target (target, request) {
    const from = request.range.from.valueOf() / 1000
    const to = request.range.to.valueOf() / 1000
    const scrape = rangeUtil.intervalToMs(this.interval) / 1000
    const step = Math.max(request.intervalMs / 1000, scrape)
    const rate = Math.max(step + scrape, 4 * scrape)
    const query = target.expr
      .replaceAll('$__rate_interval', `${rate}s`).replaceAll('$__interval', `${step}s`)
      .replaceAll('$__range', `${to - from}s`)
    const align = (time) => Math.floor(time / step) * step
    const found = target.instant
      ? await ask('POST', 'api/v1/query', { query, time: to })
      : await ask('POST', 'api/v1/query_range', { query, start: align(from), end: align(to), step })
    return framesOf(target.refId, found.data)
  }
}

// A dashboard's variables: name -> { value, multi }.
const variables = new Map()
const templateSrv = {
  getVariables: () => [...variables].map(([name, variable]) => ({ name, ...variable })),
  containsTemplate: (text) => /\$/.test(text ?? ''),
  replace (text, scoped = {}, format) {
    return (text ?? '').replace(/\$\{(\w+)\}|\$(\w+)/g, (all, braced, bare) => {
      const name = braced ?? bare
      if (scoped[name] !== undefined) return scoped[name].value
      const variable = variables.get(name)
      if (variable === undefined) return all
      return typeof format === 'function' ? format(variable.value, { name, ...variable }) : variable.value
    })
  }
}

module.exports = {
  DataSourceWithBackend,
  ask,
  settings,
  variables,
  config: { featureToggles: {}, buildInfo: { version: '13.2.3' } },
  getBackendSrv: () => ({ fetch: ({ method = 'GET', url, params, data }) => from(ask(method, url, params ?? data)) }),
  getDataSourceSrv: () => ({ getInstanceSettings: () => undefined }),
  getTemplateSrv: () => templateSrv,
  isFetchError: (error) => error instanceof FetchError,
  reportInteraction: () => {}
}
