//! What the indexes of collections keep of the records that a unit writes.

use purlin_domain::{descriptor::Collection, record::CollectionRef};
use purlin_store::record_marks::NewMark;

use super::{Key, Unit, Write};

impl Unit {
    /// The marks that its writes make, and the records whose former ones go. Those of a record
    /// that is deleted go with it.
    pub(super) fn made_marks(&self) -> (Vec<NewMark<'_>>, Vec<&Key>) {
        let (mut made, mut gone) = (Vec::new(), Vec::new());
        for (key @ (of, id), write) in &self.writes {
            let Some(collection) = self.indexed(of) else { continue };
            let Some(after) = write.current() else { continue };
            let new = collection.marks(&after.data);
            if let Write::Update { before, .. } = write {
                if collection.marks(&before.data) == new {
                    continue;
                }
                gone.push(key);
            }
            made.extend(new.into_iter().map(|(property, mark)| NewMark { of, id: *id, property, mark }));
        }
        (made, gone)
    }

    fn indexed(&self, of: &CollectionRef) -> Option<&Collection> {
        let collection = self.plugins.get(&of.plugin)?.descriptor.collection(&of.collection)?;
        (!collection.indexed.is_empty()).then_some(collection)
    }
}
