import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.Scanner;

/** Sends the requests on standard input with a default HttpClient, which offers an upgrade to HTTP/2 (h2c). */
class SendRequests {
    public static void main(String[] arguments) throws Exception {
        var client = HttpClient.newHttpClient();
        var lines = new Scanner(System.in, StandardCharsets.UTF_8);
        while (lines.hasNextLine()) {
            var parts = lines.nextLine().split("\t", -1);
            var body = Base64.getDecoder().decode(parts[3]);
            var request = HttpRequest.newBuilder(URI.create(parts[1]));
            for (var header : parts[2].split("\\|")) {
                if (!header.isEmpty()) {
                    request.header(header.split(": ")[0], header.split(": ")[1]);
                }
            }
            request.method(parts[0], body.length == 0 ? BodyPublishers.noBody() : BodyPublishers.ofByteArray(body));
            var response = client.send(request.build(), BodyHandlers.ofByteArray());
            var headers = new StringBuilder();
            response.headers().map().forEach((name, values) -> values.forEach(
                value -> headers.append(name).append(": ").append(value).append("\n")));
            var encoder = Base64.getEncoder();
            System.out.println(response.statusCode()
                + "\t" + encoder.encodeToString(headers.toString().getBytes(StandardCharsets.UTF_8))
                + "\t" + encoder.encodeToString(response.body()));
        }
    }
}
