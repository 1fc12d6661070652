// Loads Grafana's packages without a browser: drawing code is replaced by an object that does nothing, and
// @grafana/runtime is ours (runtime.js).
const Module = require('module')
const path = require('path')

const SCREEN = /^(react|react-.*|monaco.*|ol|uplot|@emotion|@hello-pangea|@floating-ui|@react-.*)(\/|$)/
const GRAFANA = /^@grafana\/(ui|plugin-ui|assistant|e2e-selectors|i18n)(\/|$)/

const nothing = () => new Proxy(function () {}, {
  get: (target, key) => key === 'prototype'
    ? target.prototype
    : key === Symbol.toPrimitive ? () => '' : key === 'then' ? undefined : nothing(),
  apply: () => nothing(),
  construct: () => ({})
})
const NOTHING = path.join(__dirname, 'nothing.js')
const RUNTIME = path.join(__dirname, 'runtime.js')
require.cache[NOTHING] = Object.assign(new Module(NOTHING), { loaded: true, exports: nothing() })

const resolve = Module._resolveFilename
Module._resolveFilename = function (name, ...rest) {
  if (name === '@grafana/runtime') return RUNTIME
  if (SCREEN.test(name) || GRAFANA.test(name)) return NOTHING
  return resolve.call(this, name, ...rest)
}

const stored = new Map()
globalThis.window = globalThis
globalThis.addEventListener = () => {}
globalThis.localStorage = {
  getItem: (key) => stored.get(key) ?? null,
  setItem: (key, value) => stored.set(key, value),
  removeItem: (key) => stored.delete(key)
}
