// Runs the page's modules without a browser, for test_page_modules.py. Argument: the folder of the sources.
// Standard input: a list of [module, function, arguments]; {"result": i} is an earlier result. Prints the results as JSON.
const fs = require('fs')
const os = require('os')
const path = require('path')
const { pathToFileURL } = require('url')
const ts = require('typescript')

const folder = process.argv[2]
const work = fs.mkdtempSync(path.join(os.tmpdir(), 'page-'))

function translate (name) {
  const text = fs.readFileSync(path.join(folder, `${name}.ts`), 'utf8')
  const { outputText } = ts.transpileModule(text, {
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022, verbatimModuleSyntax: true }
  })
  fs.writeFileSync(path.join(work, `${name}.mjs`), outputText.replace(/(from "\.\/[a-z_]+)\.ts"/g, '$1.mjs"'))
}

async function main () {
  for (const name of ['state', 'time', 'format', 'series', 'bands']) translate(name)
  const results = []
  for (const [name, call, args] of JSON.parse(fs.readFileSync(0, 'utf8'))) {
    const module = await import(pathToFileURL(path.join(work, `${name}.mjs`)).href)
    results.push(module[call](...args.map((one) => one?.result !== undefined ? results[one.result] : one)) ?? null)
  }
  process.stdout.write(JSON.stringify(results, (_, value) => typeof value === 'number' && !Number.isFinite(value) ? String(value) : value))
}

main().finally(() => fs.rmSync(work, { recursive: true })).catch((error) => { console.error(error); process.exitCode = 1 })
