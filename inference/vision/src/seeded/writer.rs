//! Writes an ONNX model layer by layer, so that no more than one layer's weights are in memory.

use std::io::{self, Seek, SeekFrom, Write};

use prost::Message;

use super::onnx::{Graph, Model, Node, Tensor};

/// The tag of `ModelProto.graph`: field 7, length-delimited.
const GRAPH_TAG: u8 = 7 << 3 | 2;
/// The graph's length is known at the end only: a number of five 7-bit groups keeps its place.
const LENGTH_BYTES: usize = 5;

/// A model whose graph is open for more tensors and nodes.
///
/// In protobuf the fields of a message may come in any order and repeated fields in pieces, so the
/// tensors are appended as they are made and the nodes last.
pub(super) struct ModelWriter<W> {
    sink: W,
    graph_start: u64,
    nodes: Vec<Node>,
}

impl<W: Write + Seek> ModelWriter<W> {
    /// Writes everything of `model` and opens its graph.
    pub(super) fn new(mut sink: W, model: &Model) -> io::Result<Self> {
        sink.write_all(&model.encode_to_vec())?;
        sink.write_all(&[GRAPH_TAG])?;
        sink.write_all(&[0; LENGTH_BYTES])?;
        let graph_start = sink.stream_position()?;
        Ok(Self { sink, graph_start, nodes: Vec::new() })
    }

    pub(super) fn tensor(&mut self, tensor: Tensor) -> io::Result<()> {
        self.append(&Graph { initializer: vec![tensor], ..Graph::default() })
    }

    pub(super) fn node(&mut self, node: Node) {
        self.nodes.push(node);
    }

    /// Closes the graph with `rest` (its name, inputs and outputs) and gives the file back.
    pub(super) fn finish(mut self, rest: Graph) -> io::Result<W> {
        let node = std::mem::take(&mut self.nodes);
        self.append(&Graph { node, ..rest })?;
        let length = self.sink.stream_position()? - self.graph_start;
        self.sink.seek(SeekFrom::Start(self.graph_start - LENGTH_BYTES as u64))?;
        self.sink.write_all(&padded_varint(length))?;
        self.sink.seek(SeekFrom::End(0))?;
        self.sink.flush()?;
        Ok(self.sink)
    }

    fn append(&mut self, part: &Graph) -> io::Result<()> {
        self.sink.write_all(&part.encode_to_vec())
    }
}

/// Seven bits a byte, lowest first, every byte but the last marked as continued.
fn padded_varint(value: u64) -> [u8; LENGTH_BYTES] {
    std::array::from_fn(|group| {
        let bits = (value >> (7 * group)) as u8 & 0x7f;
        if group + 1 < LENGTH_BYTES { bits | 0x80 } else { bits }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_padded_length_reads_back() {
        for length in [0, 1, 127, 128, 102_000_000, u64::from(u32::MAX)] {
            let bytes = padded_varint(length);
            assert_eq!(prost::encoding::decode_varint(&mut &bytes[..]).unwrap(), length);
        }
    }
}
