//! Values in the tables of a SQLite file, as somebody has written them by hand: whatever they are, what reads them comes to an end, in
//! words if it fails; nothing panics; instances beside the damaged one are completed, each step once; and a step of the damaged one
//! that is completed, and whose row was left alone, does not run again.
//!
//! In real time, since SQLite does its work on threads of its own: a run waits for conditions, up to a limit at which it hangs.

use crate::{
    shop::{Order, Plan, STEPS, Shop, World},
    words::{number, one_of},
};
use sagaz::{
    Engine, EngineId, SagaId, StepKind, Token,
    sqlite::Sqlite,
    store::{
        Accept, DefinitionKey, Filter, InstanceState, Progress, SagaStore, StepState, StepWrite,
        Wake, Write,
    },
};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions,
};
use std::{
    collections::BTreeSet,
    error::Error,
    fs,
    path::Path,
    sync::LazyLock,
    time::{Duration, Instant},
};

/// Much longer than any run takes.
const HANGS_AFTER: Duration = Duration::from_mins(2);

const HOUR: Duration = Duration::from_hours(1);

/// What has run before the file was damaged.
const COMPLETED: [&str; 3] = ["reserve", "check", "charge"];

/// Rows that can be damaged: how they are called in an input, their table, which of its rows, and its columns.
#[derive(Clone, Copy)]
struct Place {
    name: &'static str,
    table: &'static str,
    rows: &'static str,
    columns: &'static [&'static str],
}

const STEP_COLUMNS: &[&str] = &[
    "state",
    "output",
    "content_type",
    "attempts",
    "undo_attempts",
    "recoveries",
    "wake_at",
    "error",
    "kind",
    "name",
    "instance_id",
    "updated_at",
];

/// `?2` is the row of the instance, `?3` its id.
const PLACES: &[Place] = &[
    Place {
        name: "instance",
        table: "saga_instance",
        rows: "rowid = ?2",
        columns: &[
            "state",
            "input",
            "content_type",
            "failure",
            "stuck",
            "interventions",
            "owner",
            "epoch",
            "takeovers",
            "pivot_passed",
            "cancel_requested",
            "wake_at",
            "deadline_at",
            "version",
            "fingerprint",
            "saga",
            "start_key",
            "input_digest",
            "trace",
            "created_at",
            "updated_at",
            "id",
        ],
    },
    Place {
        name: "steps",
        table: "saga_step",
        rows: "instance_id = ?3",
        columns: STEP_COLUMNS,
    },
    Place {
        name: "reserve",
        table: "saga_step",
        rows: "instance_id = ?3 AND name = 'reserve'",
        columns: STEP_COLUMNS,
    },
    Place {
        name: "check",
        table: "saga_step",
        rows: "instance_id = ?3 AND name = 'check'",
        columns: STEP_COLUMNS,
    },
    Place {
        name: "charge",
        table: "saga_step",
        rows: "instance_id = ?3 AND name = 'charge'",
        columns: STEP_COLUMNS,
    },
    Place {
        name: "engine",
        table: "saga_engine",
        rows: "true",
        columns: &["lease_until", "id"],
    },
    Place {
        name: "definition",
        table: "saga_definition",
        rows: "true",
        columns: &["fingerprint", "version", "saga", "defined_at"],
    },
    Place {
        name: "meta",
        table: "saga_meta",
        rows: "true",
        columns: &["value", "key"],
    },
];

/// Places and columns.
type Damaged = BTreeSet<(&'static str, &'static str)>;

/// A file as it is before it is damaged.
struct Template {
    file: Vec<u8>,
    definition: DefinitionKey,
    /// It has ended.
    before: SagaId,
    /// Nobody owns it, and it is due; it has not begun.
    neighbour: SagaId,
    /// The same, after three steps.
    victim: SagaId,
    row: i64,
}

static TEMPLATE: LazyLock<Template> = LazyLock::new(|| block_on(template()));

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work)
}

async fn template() -> Template {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sagas.db");
    let store = Sqlite::open(&path).await.unwrap();
    let world = World::new(Plan::default());
    let engine = start(&store, &world).await.unwrap();
    let before = engine.start::<Shop>(Order::GOOD).await.unwrap();
    assert!(before.outcome().await.unwrap().is_completed());
    engine.shutdown().await;
    let former = EngineId::random();
    store.renew(former, HOUR).await.unwrap();
    let like = store.load(before.id()).await.unwrap().unwrap();
    let neighbour = Accept {
        id: SagaId::new(),
        definition: like.summary.definition.clone(),
        input: like.input,
        input_digest: String::new(),
        start_key: None,
        owner: None,
        deadline: None,
        trace: None,
    };
    let victim = Accept {
        id: SagaId::new(),
        owner: Some(former),
        ..neighbour.clone()
    };
    let is_completed = |name: &String| COMPLETED.contains(&name.as_str());
    let steps = like
        .steps
        .into_iter()
        .filter(|step| is_completed(&step.name));
    let progress = Progress {
        id: victim.id,
        token: Token {
            owner: former,
            epoch: 1,
        },
        state: InstanceState::Executing,
        pivot_passed: false,
        failure: None,
        stuck: None,
        release: Some(Wake::Now),
        sender: None,
        steps: steps
            .map(|step| StepWrite {
                name: step.name,
                kind: StepKind::Compensatable,
                state: StepState::Completed,
                attempts: 1,
                undo_attempts: 0,
                recoveries: 0,
                output: step.output,
                error: None,
                wake: None,
                events: Vec::new(),
            })
            .collect(),
    };
    let ids = (neighbour.id, victim.id);
    for write in [
        Write::Accept(neighbour),
        Write::Accept(victim),
        Write::Progress(progress),
    ] {
        store.write(&[write]).await.unwrap();
    }
    store.close().await;
    let mut connection = connect(&path).await;
    let row =
        sqlx::query_scalar("SELECT rowid FROM saga_instance WHERE id = ?").bind(ids.1.to_string());
    let row = row.fetch_one(&mut connection).await.unwrap();
    // The last one that closes a file leaves nothing in its log.
    connection.close().await.unwrap();
    assert!(!path.with_extension("db-wal").exists());
    Template {
        file: fs::read(&path).unwrap(),
        definition: like.summary.definition,
        before: before.id(),
        neighbour: ids.0,
        victim: ids.1,
        row,
    }
}

async fn connect(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path);
    options.connect().await.unwrap()
}

async fn start(store: &Sqlite, world: &World) -> Result<Engine<Sqlite>, sagaz::Error> {
    Engine::builder(store.clone())
        .register(world.shop())
        .lease(HOUR)
        .poll_interval(Duration::from_millis(5))
        .wake_up_after(Duration::from_millis(100))
        .start_timeout(HANGS_AFTER / 2)
        .observer(world.observer())
        .start()
        .await
}

pub(crate) fn sqlite_rows(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let template = &*TEMPLATE;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sagas.db");
    fs::write(&path, &template.file).unwrap();
    block_on(async {
        let damaged = damage(&path, template, &text).await;
        let ran = tokio::time::timeout(HANGS_AFTER, run(&path, template, &damaged));
        ran.await.expect("it comes to an end");
    });
}

/// Writes what each line says: a place, a column, a type, and a value. Gives what is other than it was.
async fn damage(path: &Path, template: &Template, text: &str) -> Damaged {
    let mut connection = connect(path).await;
    let mut damaged = BTreeSet::new();
    for line in text.split('\n').filter(|line| !line.is_empty()).take(20) {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap_or_default();
        let place = one_of(PLACES, word(), |place| place.name);
        let column = one_of(place.columns, word(), |column| column);
        let Place {
            table, rows, name, ..
        } = place;
        let update = format!("UPDATE {table} SET {column} = ?1 WHERE {rows}");
        let update = sqlx::query(AssertSqlSafe(update));
        let (kind, value) = (word(), word());
        let update = match kind {
            "null" => update.bind(None::<i64>),
            "integer" => update.bind(integer(value)),
            "real" => update.bind(value.parse().unwrap_or(0.5_f64)),
            // A letter is a byte, as far as there are that many.
            "blob" => update.bind(
                value
                    .chars()
                    .map(|it| u8::try_from(it).unwrap_or(u8::MAX))
                    .collect::<Vec<_>>(),
            ),
            _ => update.bind(value.to_owned()),
        };
        let update = update.bind(template.row).bind(template.victim.to_string());
        // What the tables do not let in is not there.
        if update.execute(&mut connection).await.is_ok() {
            damaged.insert((name, column));
        }
    }
    connection.close().await.unwrap();
    damaged
}

fn integer(text: &str) -> i64 {
    match text.strip_prefix('-') {
        Some(digits) => i64::try_from(number(digits)).map_or(i64::MIN, |it| -it),
        None => i64::try_from(number(text)).unwrap_or(i64::MAX),
    }
}

async fn run(path: &Path, template: &Template, damaged: &Damaged) {
    let is_damaged = |place: &str| damaged.iter().any(|it| it.0 == place);
    // Of a graph that is another's, no version starts while an instance is unfinished.
    let is_regraphed = damaged.contains(&("instance", "fingerprint"));
    let Some(store) = told(Sqlite::open(path).await) else {
        // Of this file, and not of one instance.
        assert!(is_damaged("meta"), "{damaged:?}");
        return;
    };
    let world = World::new(Plan::default());
    let Some(engine) = told(start(&store, &world).await) else {
        assert!(is_damaged("definition") || is_regraphed, "{damaged:?}");
        return store.close().await;
    };
    let later = engine.start::<Shop>(Order::GOOD).await.unwrap();
    assert!(later.outcome().await.unwrap().is_completed());
    let neighbour = engine.handle::<Shop>(template.neighbour).await.unwrap();
    assert!(neighbour.outcome().await.unwrap().is_completed());
    settle(path, template).await;
    for id in [template.neighbour, later.id()] {
        world.check_neighbour(id);
    }
    check(&world, template.victim, damaged);
    look(&engine, template, later.id(), damaged).await;
    let operator = engine.operator("somebody", "for a reason");
    for step in STEPS {
        told(operator.retry(template.victim, step).await);
    }
    settle(path, template).await;
    world.check_order_of_undos(template.victim);
    world.check_quiet();
    engine.shutdown().await;
    store.close().await;
}

/// What failed says why.
fn told<T, E: Error>(result: Result<T, E>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

/// What is asked of the store by people.
async fn look(engine: &Engine<Sqlite>, template: &Template, later: SagaId, damaged: &Damaged) {
    let good = [template.before, template.neighbour, later];
    for id in good {
        let snapshot = engine.inspect(id).await.unwrap().unwrap();
        assert_eq!(snapshot.summary.state, InstanceState::Completed);
    }
    if let Some(Some(snapshot)) = told(engine.inspect(template.victim).await) {
        assert_eq!(snapshot.summary.id, template.victim);
        if let Some(stuck) = &snapshot.summary.stuck {
            assert!(!stuck.to_string().is_empty());
        }
    }
    let Some(page) = told(engine.list(Filter::all()).await) else {
        return assert!(damaged.contains(&("instance", "id")), "{damaged:?}");
    };
    let listed: BTreeSet<_> = page.instances.iter().map(|it| it.id).collect();
    assert!(good.iter().all(|id| listed.contains(id)), "{listed:?}");
}

fn check(world: &World, victim: SagaId, damaged: &Damaged) {
    let actions = world.actions(victim);
    for step in COMPLETED {
        let is_damaged = damaged
            .iter()
            .any(|(place, _)| ["steps", step].contains(place));
        assert!(
            is_damaged || !actions.contains(&step),
            "`{step}` was completed, and ran"
        );
    }
    world.check_order_of_undos(victim);
}

/// Until the damaged instance is over or stuck, waits for a time that is to come, or is nothing that this engine runs.
async fn settle(path: &Path, template: &Template) {
    const IS_SETTLED: &str = "SELECT NOT EXISTS (
        SELECT 1 FROM saga_instance AS i
        WHERE i.rowid = ?1 AND i.id = ?2 AND i.saga = ?3 AND i.version = ?4 AND i.fingerprint = ?5
            AND i.state IN ('pending', 'executing', 'compensating')
            AND (i.owner IS NOT NULL OR i.wake_at <= unixepoch('subsec') * 1000)
    )";
    let began = Instant::now();
    let DefinitionKey {
        saga,
        version,
        fingerprint,
        ..
    } = &template.definition;
    let mut connection = connect(path).await;
    loop {
        let is_settled = sqlx::query_scalar(IS_SETTLED)
            .bind(template.row)
            .bind(template.victim.to_string())
            .bind(saga)
            .bind(version)
            .bind(fingerprint);
        if is_settled.fetch_one(&mut connection).await.unwrap() {
            return connection.close().await.unwrap();
        }
        assert!(began.elapsed() < HANGS_AFTER / 2, "the instance hangs");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
