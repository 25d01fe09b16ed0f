using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Worker.Models;

namespace Dynamo.Vllm.UnitTests.Worker.Models;

public sealed class PartialFilesTests
{
    [Fact]
    public void Only_what_this_process_writes_and_no_other_could_continue_is_removed()
    {
        using var folder = new TemporaryFolder();
        var ours = folder.Write("etag.0123abcd.incomplete", "part");
        var continued = folder.Write("etag.incomplete", "part");
        var another = folder.Write("other.0123abcd.incomplete", "part");
        using (File.OpenRead(ours))
        using (File.OpenRead(continued))
        {
            Assert.Equal(1, PartialFiles.RemoveOpen());
        }

        Assert.False(File.Exists(ours));
        Assert.True(File.Exists(continued));
        Assert.True(File.Exists(another));
    }
}
