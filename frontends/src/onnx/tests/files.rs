//! Model files, external weights, and paths that must not be followed.

use super::*;
use crate::onnx::import;
use crate::onnx::proto::{StringStringEntryProto, tensor_proto::DataLocation};
use std::path::PathBuf;

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("cascata-onnx-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("model")).unwrap();
        std::fs::write(dir.join("secret.bin"), [1u8; 64]).unwrap();
        std::fs::write(dir.join("model/w.bin"), (0..64).collect::<Vec<u8>>()).unwrap();
        Folder(dir)
    }

    /// Imports a model whose only weight is at this location.
    fn import(&self, entries: &[(&str, &str)]) -> Result<Import, ImportError> {
        let external_data = entries.iter().map(|(k, v)| StringStringEntryProto {
            key: Some(k.to_string()),
            value: Some(v.to_string()),
        });
        let mut graph =
            Build::default().input("x", FLOAT, &["4"]).node("Add", "x,w", "y").output("y");
        graph.0.initializer.push(TensorProto {
            name: Some("w".into()),
            data_type: Some(FLOAT),
            dims: vec![4],
            external_data: external_data.collect(),
            data_location: Some(DataLocation::External.into()),
            ..Default::default()
        });
        let path = self.0.join("model/model.onnx");
        std::fs::write(&path, graph.model(17).encode_to_vec()).unwrap();
        import(&path, &ImportOptions::default())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn external_weights_are_mapped() {
    let folder = Folder::new("mapped");
    let imported =
        folder.import(&[("location", "w.bin"), ("offset", "8"), ("length", "16")]).unwrap();
    let data = &imported.graph.consts.values().as_slice()[0].data;
    assert_eq!(data.as_ref(), (8..24).collect::<Vec<u8>>());
}

#[test]
fn paths_out_of_the_folder_are_refused() {
    let folder = Folder::new("paths");
    let absolute = folder.0.join("secret.bin");
    let absolute = absolute.to_str().unwrap();
    for location in
        ["../secret.bin", "./../secret.bin", "a/../../secret.bin", absolute, "", "w\0.bin"]
    {
        let error =
            folder.import(&[("location", location), ("length", "16")]).unwrap_err().to_string();
        assert!(error.contains("initializer 'w'") && error.contains("model's folder"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn links_out_of_the_folder_are_refused() {
    let folder = Folder::new("links");
    std::os::unix::fs::symlink(folder.0.join("secret.bin"), folder.0.join("model/link.bin"))
        .unwrap();
    let error =
        folder.import(&[("location", "link.bin"), ("length", "16")]).unwrap_err().to_string();
    assert!(error.contains("leads out"), "{error}");
}

#[test]
fn ranges_outside_the_file_are_refused() {
    let folder = Folder::new("ranges");
    for (offset, length) in
        [("60", "16"), ("0", "65"), ("18446744073709551615", "16"), ("-1", "16"), ("65", "")]
    {
        let mut entries = vec![("location", "w.bin"), ("offset", offset)];
        if !length.is_empty() {
            entries.push(("length", length));
        }
        let error = folder.import(&entries).unwrap_err().to_string();
        assert!(error.contains("initializer 'w'"), "{error}");
    }
    let error = folder.import(&[("location", "w.bin"), ("length", "12")]).unwrap_err().to_string();
    assert!(error.contains("takes 16 bytes"), "{error}");
    assert!(
        folder.import(&[("location", "none.bin")]).unwrap_err().to_string().contains("none.bin")
    );
    assert!(folder.import(&[]).unwrap_err().to_string().contains("without a location"));
}

#[test]
fn limits_and_missing_files_are_named() {
    let folder = Folder::new("limits");
    folder.import(&[("location", "w.bin"), ("length", "16")]).unwrap();
    let path = folder.0.join("model/model.onnx");
    let options = ImportOptions { max_bytes: 10, ..ImportOptions::default() };
    assert!(matches!(import(&path, &options), Err(ImportError::TooLarge { limit: 10, .. })));
    let missing = folder.0.join("none.onnx");
    assert!(
        import(&missing, &ImportOptions::default()).unwrap_err().to_string().contains("none.onnx")
    );
    assert!(import(&folder.0, &ImportOptions::default()).is_err());
}
