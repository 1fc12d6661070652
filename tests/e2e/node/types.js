// Sends every type of a client once or more, for test_client_types.py.
// Arguments: which client, its options as JSON, a Unix time in seconds.
const [which, options, time] = process.argv.slice(2)
const settings = JSON.parse(options)
const fail = (error) => { console.error(error); process.exit(1) }

function hotShots () {
  const StatsD = require('hot-shots')
  const client = new StatsD({ prefix: 'js.', errorHandler: fail, ...settings })
  client.increment('count', 2, ['route:/cart', 'bare'])
  client.increment('count', ['route:/cart', 'bare'])
  client.decrement('count', 0.5)
  client.timing('time', 0.25)
  client.histogram('time', 0.5, { zone: 'eu' })
  client.distribution('time', 0.75, { zone: 'eu' })
  client.gauge('depth', 5)
  client.gaugeDelta('depth', 3)
  client.gaugeDelta('depth', -1)
  client.set('users', 'ann')
  client.unique('users', 42)
  if (!settings.telegraf) {
    client.increment('then', 4, { timestamp: Number(time) })
    client.gauge('was', -4, { timestamp: Number(time), cardinality: 'low' })
    client.event('deploy', 'done')
    client.check('db', client.CHECKS.OK)
  }
  client.close((error) => error ? fail(error) : process.exit(0))
}

function statsdClient () {
  const StatsDClient = require('statsd-client')
  const client = new StatsDClient({ prefix: 'js', tags: { zone: 'eu' }, ...settings })
  client.counter('count', 2)
  client.increment('count')
  client.decrement('count', 0.5)
  client.timing('time', 0.25)
  client.histogram('time', 0.5, { zone: 'us' })
  client.distribution('time', 0.75)
  client.gauge('depth', 5)
  client.gaugeDelta('depth', 3)
  client.gaugeDelta('depth', -1)
  client.set('users', 'ann')
  client.close()
}

({ hotShots, statsdClient })[which]()
