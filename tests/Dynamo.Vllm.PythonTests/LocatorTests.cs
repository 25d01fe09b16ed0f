using Dynamo.Vllm.Python.Locating;

namespace Dynamo.Vllm.PythonTests;

public sealed class LocatorTests
{
    [Fact]
    public void The_first_usable_interpreter_on_the_path_is_taken()
    {
        var python = PythonLocator.Locate(null, Environment.GetEnvironmentVariable);
        Assert.True(File.Exists(python.LibraryPath));
        Assert.True(python.Minor >= PythonLocator.MinorMin);
        Assert.Contains($"3.{python.Minor}", python.Version, StringComparison.Ordinal);
    }

    [Fact]
    public void An_empty_path_is_one_clear_line()
    {
        var exception = Assert.Throws<PythonNotUsableException>(() => PythonLocator.Locate(null, _ => null));
        Assert.Contains("no python3 on PATH", exception.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', exception.Message);
    }

    [Theory]
    [InlineData("/nonexistent/python", "/nonexistent/python does not exist")]
    [InlineData("/bin/false", "/bin/false cannot be asked")]
    public void A_chosen_interpreter_that_does_not_work_is_named(string chosen, string message)
    {
        var exception = Assert.Throws<PythonNotUsableException>(() => PythonLocator.Locate(chosen, Environment.GetEnvironmentVariable));
        Assert.Contains(message, exception.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', exception.Message);
    }
}
