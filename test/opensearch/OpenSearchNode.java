import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.opensearch.Version;
import org.opensearch.common.settings.Settings;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.plugins.PluginInfo;

/**
 * One real OpenSearch node in this process, on the loopback address, with the HTTP transport taken from the class path: the stock main class
 * refuses to run as root and wants its modules in folders. It ends when its standard input does, so that it never outlives who started it.
 * Arguments: the home folder and the port of HTTP.
 */
public class OpenSearchNode extends Node {
    private static final String TRANSPORT = "org.opensearch.transport.Netty4ModulePlugin";

    private OpenSearchNode(Settings settings, Path config) {
        super(
            InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), config, () -> "node"),
            List.of(new PluginInfo(TRANSPORT, "HTTP", "NA", Version.CURRENT, "21", TRANSPORT, null, List.of(), false)),
            true
        );
    }

    public static void main(String[] arguments) throws Exception {
        Path home = Path.of(arguments[0]).toAbsolutePath();
        Settings settings = Settings.builder()
            .put("path.home", home)
            .put("cluster.name", "anamnesis-test")
            .put("discovery.type", "single-node")
            .put("network.host", "127.0.0.1")
            .put("http.port", arguments[1])
            .put("transport.port", "0")
            // As production should: an index is made by who knows its mapping, never by a write.
            .put("action.auto_create_index", false)
            .put("action.destructive_requires_name", true)
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .build();
        OpenSearchNode node = new OpenSearchNode(settings, Files.createDirectories(home.resolve("config")));
        node.start();
        System.out.println("ready " + Version.CURRENT);
        while (System.in.read() >= 0) {
            // Nothing is said on it; it only ends.
        }
        node.close();
        System.exit(0);
    }
}
