//! Which rows of the published tables describe a model on its devices.

use std::io::Read;
use std::path::Path;

use super::error::VidurProfileError;
use super::files::VidurFiles;
use super::op::VidurOp;
use super::rows::{Filter, Table, Wanted, file};
use super::training::{TrainingRow, TrainingSet};

/// A model as the tables describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VidurShape {
    /// As `cpu_overhead.csv` calls it.
    pub name: String,
    pub num_q_heads: u64,
    pub num_kv_heads: u64,
    pub embedding_dim: u64,
    pub mlp_hidden_dim: u64,
    /// None: any. Vidur pads it, so that a model's own configuration may say another.
    pub vocab_size: Option<u64>,
    pub use_gated_mlp: bool,
}

/// How the model is spread over devices, and what of it is modelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VidurSelection {
    pub tensor_parallel: u32,
    pub pipeline_stages: u32,
    pub devices_per_node: u32,
    /// Tokens of a KV block.
    pub block_size: u32,
    /// Whether the CPU's work between steps is modelled.
    pub cpu_overhead: bool,
}

/// Reads the rows that describe a model, and what each operator takes in them.
///
/// # Errors
/// A file is missing or no table, a cell holds no measurement, or there are no rows of the model: every
/// error names the file, and what would be right.
pub fn read_training(
    files: &VidurFiles,
    shape: &VidurShape,
    selection: &VidurSelection,
) -> Result<TrainingSet, VidurProfileError> {
    parse_training(file, files, shape, selection)
}

/// [`read_training`] of tables that `read` opens.
///
/// # Errors
/// Those of [`read_training`].
pub fn parse_training<R: Read>(
    read: impl Fn(&Path) -> Result<R, VidurProfileError>,
    files: &VidurFiles,
    shape: &VidurShape,
    selection: &VidurSelection,
) -> Result<TrainingSet, VidurProfileError> {
    let open = |path: &Path| Table::new(read(path)?, path);
    let multi_node = is_multi_node(selection)?;
    let mut set = TrainingSet::default();
    read_mlp(open(&files.mlp)?, &files.mlp, shape, selection, &mut set)?;
    read_attention(open(&files.attention)?, &files.attention, shape, selection, &mut set)?;
    let named =
        |path: &Option<_>, op: VidurOp| path.clone().ok_or(VidurProfileError::Missing { op: op.name() });
    let tensor_parallel = u64::from(selection.tensor_parallel);
    if selection.tensor_parallel > 1 {
        let filter = vec![
            ("num_workers", Wanted::Count(tensor_parallel)),
            ("devices_per_node", Wanted::Count(tensor_parallel)),
            ("collective", Wanted::Text("all_reduce".to_owned())),
        ];
        let path = named(&files.all_reduce, VidurOp::AllReduce)?;
        read_network(open(&path)?, &path, VidurOp::AllReduce, &filter, shape, &mut set)?;
    }
    if selection.pipeline_stages > 1 {
        let devices = if multi_node { 1 } else { 2 };
        let filter = vec![
            ("collective", Wanted::Text("send_recv".to_owned())),
            ("devices_per_node", Wanted::Count(devices)),
        ];
        let path = named(&files.send_recv, VidurOp::SendRecv)?;
        read_network(open(&path)?, &path, VidurOp::SendRecv, &filter, shape, &mut set)?;
    }
    if selection.cpu_overhead {
        let path = named(&files.cpu_overhead, VidurOp::Schedule)?;
        read_cpu_overhead(open(&path)?, &path, shape, tensor_parallel, &mut set)?;
    }
    Ok(set)
}

/// Whether the devices of a replica are on several nodes.
fn is_multi_node(selection: &VidurSelection) -> Result<bool, VidurProfileError> {
    let VidurSelection { tensor_parallel, pipeline_stages, devices_per_node, .. } = *selection;
    let (devices, per_node) =
        (u64::from(tensor_parallel) * u64::from(pipeline_stages), u64::from(devices_per_node));
    if devices == 0 || per_node == 0 || (devices > per_node && devices % per_node != 0) {
        return Err(VidurProfileError::Devices { tensor_parallel, pipeline_stages, devices_per_node });
    }
    Ok(devices > per_node)
}

fn read_mlp<R: Read>(
    table: Table<R>,
    path: &Path,
    shape: &VidurShape,
    selection: &VidurSelection,
    set: &mut TrainingSet,
) -> Result<(), VidurProfileError> {
    let mut filter: Filter = vec![
        ("n_head", Wanted::Count(shape.num_q_heads)),
        ("n_kv_head", Wanted::Count(shape.num_kv_heads)),
        ("n_embd", Wanted::Count(shape.embedding_dim)),
        ("n_expanded_embd", Wanted::Count(shape.mlp_hidden_dim)),
        ("use_gated_mlp", Wanted::Flag(shape.use_gated_mlp)),
    ];
    filter.extend(shape.vocab_size.map(|size| ("vocab_size", Wanted::Count(size))));
    filter.push(("num_tensor_parallel_workers", Wanted::Count(selection.tensor_parallel.into())));
    let num_tokens = table.column("num_tokens")?;
    let mut times = Vec::new();
    for op in VidurOp::COMPUTE {
        let column = op.column();
        times.push(match op.may_be_missing() {
            true => table.find(&column)?,
            false => Some(table.column(&column)?),
        });
    }
    table.matching(&filter, |row| {
        let x = [row.number(num_tokens)?, 0.0];
        for (op, column) in VidurOp::COMPUTE.into_iter().zip(&times) {
            let ms = match column {
                Some(column) if !op.may_be_missing() => row.time(*column)?,
                column => row.time_or_none(*column)?,
            };
            set.push(op, TrainingRow { x, ms });
        }
        Ok(())
    })?;
    set.require(&VidurOp::COMPUTE, path)
}

fn read_attention<R: Read>(
    table: Table<R>,
    path: &Path,
    shape: &VidurShape,
    selection: &VidurSelection,
    set: &mut TrainingSet,
) -> Result<(), VidurProfileError> {
    let filter: Filter = vec![
        ("n_embd", Wanted::Count(shape.embedding_dim)),
        ("n_q_head", Wanted::Count(shape.num_q_heads)),
        ("n_kv_head", Wanted::Count(shape.num_kv_heads)),
        ("block_size", Wanted::Count(selection.block_size.into())),
        ("num_tensor_parallel_workers", Wanted::Count(selection.tensor_parallel.into())),
    ];
    let batch_size = table.column("batch_size")?;
    let chunk_size = table.column("prefill_chunk_size")?;
    let kv_size = table.column("kv_cache_size")?;
    let save = table.find(&VidurOp::AttnKvCacheSave.column())?;
    let decode = table.column(&VidurOp::AttnDecode.column())?;
    let prefill = table.column(&VidurOp::AttnPrefill.column())?;
    table.matching(&filter, |row| {
        let (batch, chunk) = (row.count(batch_size)?, row.count(chunk_size)?);
        let kv = row.number(kv_size)?;
        if chunk >= 1 << 24 {
            return Err(row.refuse(chunk_size, "a chunk of fewer than 2^24 tokens"));
        }
        let tokens = [batch.max(chunk) as f64, 0.0];
        set.push(VidurOp::AttnKvCacheSave, TrainingRow { x: tokens, ms: row.time_or_none(save)? });
        if chunk == 0 {
            let x = [batch as f64, kv];
            set.push(VidurOp::AttnDecode, TrainingRow { x, ms: row.time(decode)? });
        } else {
            let x = [kv, (chunk * chunk) as f64];
            set.push(VidurOp::AttnPrefill, TrainingRow { x, ms: row.time(prefill)? });
        }
        Ok(())
    })?;
    set.require(&[VidurOp::AttnKvCacheSave, VidurOp::AttnDecode, VidurOp::AttnPrefill], path)
}

fn read_network<R: Read>(
    table: Table<R>,
    path: &Path,
    op: VidurOp,
    filter: &Filter,
    shape: &VidurShape,
    set: &mut TrainingSet,
) -> Result<(), VidurProfileError> {
    let size = table.column("size")?;
    let time = table.column(&op.column())?;
    table.matching(filter, |row| {
        // A token is `embedding_dim` numbers of two bytes; a message need not be whole tokens.
        let tokens = row.number(size)? / shape.embedding_dim.max(1) as f64 / 2.0;
        set.push(op, TrainingRow { x: [tokens, 0.0], ms: row.time(time)? });
        Ok(())
    })?;
    set.require(&[op], path)
}

fn read_cpu_overhead<R: Read>(
    table: Table<R>,
    path: &Path,
    shape: &VidurShape,
    tensor_parallel: u64,
    set: &mut TrainingSet,
) -> Result<(), VidurProfileError> {
    let filter: Filter = vec![
        ("model_name", Wanted::Text(shape.name.clone())),
        ("tensor_parallel_degree", Wanted::Count(tensor_parallel)),
    ];
    let batch_size = table.column("batch_size")?;
    let times = VidurOp::CPU.iter().map(|op| table.column(&op.column())).collect::<Result<Vec<_>, _>>()?;
    table.matching(&filter, |row| {
        let x = [row.number(batch_size)?, 0.0];
        for (op, column) in VidurOp::CPU.into_iter().zip(&times) {
            set.push(op, TrainingRow { x, ms: row.time(*column)? });
        }
        Ok(())
    })?;
    set.require(&VidurOp::CPU, path)
}
